"""A real pgBouncer on loopback in front of a test's PostgreSQL: Debian's package `pgbouncer`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import free_port
from tests.support.waiting import until_blocking

_NOBODY = 65534
PASSWORD = "vk-pool-8Tq2 %@/ü"  # signs that an URL has to escape


def program() -> str:
    """Its path; skips the test where it cannot be had, unless REQUIRE names pgbouncer."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        message = "pgBouncer is not installed: apt-get install pgbouncer"
        if "pgbouncer" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return found


@contextlib.contextmanager
def pgbouncer(server_port: int, **settings: str) -> Iterator[int]:
    """The port of one with these settings. It knows the user `owner`, with PASSWORD."""
    as_user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY} if os.getuid() == 0 else {}
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tk-pgbouncer-") as name:
        directory = Path(name)
        (directory / "users").write_text(f'"owner" "{PASSWORD}"\n')
        told = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(directory / "users"),
            "pool_mode": "session",
        } | settings
        lines = [f"{key} = {value}" for key, value in told.items()]
        databases = f"[databases]\n* = host=127.0.0.1 port={server_port}\n"
        text = f"{databases}[pgbouncer]\n" + "\n".join(lines) + "\n"
        (directory / "pgbouncer.ini").write_text(text)
        for path in (directory, *directory.iterdir()):
            if as_user:
                os.chown(path, _NOBODY, _NOBODY)
        process = subprocess.Popen(
            [program(), "-q", str(directory / "pgbouncer.ini")],
            stderr=subprocess.DEVNULL, start_new_session=True, **as_user,
        )  # fmt: skip  # the command as one would type it
        try:
            until_blocking(lambda: _listens(port, process))
            yield port
        finally:
            process.kill()
            process.wait()


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "pgBouncer ended while it started"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
