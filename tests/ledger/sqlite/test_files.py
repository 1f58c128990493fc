"""The lock that keeps a second process out, and the file that it holds."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.ledger import LedgerError, connect
from proxy.ledger.sqlite.files import database_path, lock, make_database_file
from proxy.ledger.sqlite.read_only import connected


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:ledger.db", "/data/ledger.db"),
        ("sqlite:books/2026.db", "/data/books/2026.db"),
        ("sqlite:/elsewhere/l.db", "/elsewhere/l.db"),
    ],
)
def test_the_url_names_a_file_in_the_data_directory(url: str, path: str) -> None:
    assert database_path(url, Path("/data")) == Path(path)


@pytest.mark.parametrize("url", ["sqlite:", "sqlite::memory:", "sqlite"])
def test_a_url_without_a_file_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(LedgerError, match=r"use sqlite:FILE"):
        database_path(url, Path("/data"))


def test_the_lock_is_held_by_one_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    held = lock(path)
    with pytest.raises(LedgerError, match=rf"in use by process {os.getpid()}.*one process writes"):
        lock(path)
    os.close(held)
    os.close(lock(path))


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    program = f"import sys; from pathlib import Path; from proxy.ledger.sqlite.files import lock; lock(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LedgerError, match=f"process {holder.pid}"):
            lock(path)
        holder.kill()
        holder.wait()
    os.close(lock(path))


def test_a_full_disk_takes_only_the_holders_name_from_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file may grow
    try:
        held = lock(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(LedgerError, match="in use by another process"):
        lock(path)
    os.close(held)


def test_a_lock_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="No such file or directory"):
        lock(tmp_path / "missing" / "ledger.db")


def test_the_database_file_is_private_and_an_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    make_database_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"rows")
    make_database_file(path)
    assert path.read_bytes() == b"rows"


async def test_a_ledger_that_is_gone_is_told_from_one_that_never_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LedgerError, match="`tollkeeper serve` makes it"), connected(tmp_path / "a"):
        pass
    (tmp_path / "journal" / "w0").mkdir(parents=True)
    with (
        pytest.raises(LedgerError, match=r"is gone.*bring a backup back"),
        connected(tmp_path / "a"),
    ):
        pass
    await (await connect("sqlite:ledger.db", tmp_path)).aclose()
    assert "is gone, and a new one is begun" in caplog.text
    caplog.clear()
    await (await connect("sqlite:ledger.db", tmp_path)).aclose()
    assert not caplog.text
    (tmp_path / "ledger.db").write_bytes(b"")
    with (
        pytest.raises(LedgerError, match="is empty: its journal is here"),
        connected(tmp_path / "ledger.db"),
    ):
        pass
    await (await connect("sqlite:ledger.db", tmp_path)).aclose()
    assert "is gone, and a new one is begun" in caplog.text


async def test_who_may_not_write_is_told_whose_command_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # The tests may run as root, who may do all. Python's own removal of directories opens them too.
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        with pytest.raises(LedgerError, match="run the command as the user of the process"):
            lock(tmp_path / "ledger.db")
