"""The files around the database: the lock against a second process, and the sealing key."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from proxy.ledger import LedgerError
from proxy.system.files import sync_directory

_KEY_BYTES = 32


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
        raise LedgerError(f"cannot open {lock_path}: {error.strerror}") from error
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


def read_key(path: Path) -> bytes:
    """The key in the file: 64 hex digits. Raises LedgerError when there is none."""
    try:
        text = path.read_text("ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        raise LedgerError(f"cannot read the ledger's key {path}: {error.strerror}") from error
    except ValueError as error:
        raise LedgerError(
            f"the ledger's key {path} is not hexadecimal: restore it from a backup"
        ) from error
    if len(key) != _KEY_BYTES:
        raise LedgerError(
            f"the ledger's key {path} has {len(key)} bytes instead of {_KEY_BYTES}: restore it "
            "from a backup"
        )
    return key


def make_key(path: Path) -> bytes:
    """Make a new key in a file of mode 0600, durable before it is used.

    If a power cut took the key, its seals could never be checked.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, key.hex().encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    sync_directory(path.parent)
    return key


def make_database_file(path: Path) -> None:
    """Make an empty database file of mode 0600, unless there is one.

    It names end users, and SQLite would create it readable for all.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)
