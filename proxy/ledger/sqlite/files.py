"""The files around the database: its own, and the lock against a second process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from proxy.ledger import LedgerError
from proxy.system.files import sync_directory

WHAT_WAS_LOST = (
    "its journal is here. A new ledger has no keys, teams, suspensions and statements of before,"
    " and no records that have left the journal. Stop the process and bring a backup back, as"
    " docs/keeping.md says"
)


def database_path(url: str, data_dir: Path) -> Path:
    """The file that `sqlite:FILE` names; a relative one is in `data_dir`."""
    name = url.partition(":")[2]
    if not name or name == ":memory:":
        raise LedgerError(
            f"ledger.url {url!r} names no file: use sqlite:FILE, for example sqlite:ledger.db"
        )
    return data_dir / name


def lock(path: Path) -> int:
    """Hold the database's lock file until the descriptor is closed or the process ends.

    Raises LedgerError when another process holds it. The lock is a file of its own: closing any
    descriptor of the database file would drop SQLite's own locks on it.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        may_not = (
            ". This user may not write the ledger: run the command as the user of the process"
            if isinstance(error, PermissionError)
            else ""
        )
        raise LedgerError(f"cannot open {lock_path}: {error.strerror}{may_not}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise LedgerError(f"cannot lock {lock_path}: {error.strerror}") from error
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise LedgerError(
            f"{path} is in use by {who}: one process writes a ledger; stop it, or give this one a "
            "data_dir of its own (with --upstream: start it in another directory)"
        ) from error
    # On a full disk the lock still holds; only its holder has no name.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def was_lost(path: Path, data_dir: Path) -> bool:
    """Whether a process has run on this data directory, and the database is gone or emptied."""
    journal = data_dir / "journal"
    files = (path, path.with_name(f"{path.name}-wal"))
    is_empty = not any(one.exists() and one.stat().st_size for one in files)
    return is_empty and journal.is_dir() and any(journal.iterdir())


def make_database_file(path: Path) -> None:
    """Make an empty database file of mode 0600, unless there is one.

    It names end users, and SQLite would create it readable for all.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)
