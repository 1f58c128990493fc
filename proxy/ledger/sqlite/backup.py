"""Copies the ledger's file while a process writes it, by SQLite's own way of making backups.

The copy is read in one transaction. So it is the book at one moment, and a writer that books
meanwhile makes SQLite begin anew neither once nor for ever. Until it ends the write-ahead log is
not reset, and grows by what is booked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.backups import BackedUp, BackupDamaged, Told
from proxy.ledger.sqlite.files import database_path
from proxy.ledger.sqlite.pages import head
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.reader import SqliteReader
from proxy.ledger.verification import BookVerified, verify
from proxy.system.drafts import draft_of
from proxy.system.files import sync_directory

STEP_PAGES: Final = 2048  # 8 MiB: some milliseconds, after which the copy tells how far it is
_READ_BYTES: Final = 1024 * 1024
# What SQLite takes for a part of the database whose name it begins with.
_SIDE_FILES: Final = ("-wal", "-journal")


def back_up(
    url: str,
    data_dir: Path,
    target: Path,
    *,
    key_file: Path,
    replace: bool,
    check: bool,
    told: Told,
) -> BackedUp:
    """See `proxy.ledger.backups.back_up`."""
    path = database_path(url, data_dir)
    _check_target(path, target, replace=replace)
    with _draft_of(target) as draft:
        _copy(path, draft, told)
        reader = SqliteReader(draft)
        verified = _verified(reader, key_file, told) if check else None
        state = reader.status()
        digest, size = _durable(draft)
        # Time has passed: another command may have made it.
        _check_target(path, target, replace=replace)
        draft.replace(target)
        sync_directory(target.absolute().parent)
    return BackedUp(str(target), size, digest, state.last_seq or 0, state.last_hash, verified)


def _check_target(path: Path, target: Path, *, replace: bool) -> None:
    """Refuse to write where a file would be lost, or where the copy could not be read."""
    if target.is_dir():
        raise LedgerError(f"{target} is a directory: name a file in it")
    if not target.absolute().parent.is_dir():
        raise LedgerError(f"there is no directory {target.absolute().parent}: make it first")
    beside = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock"))]
    if target.absolute().resolve() in (one.resolve() for one in beside):
        raise LedgerError(f"{target} belongs to the ledger itself: name another file")
    for end in _SIDE_FILES:
        if (side := target.with_name(target.name + end)).exists():
            raise LedgerError(
                f"{side} is there, and SQLite would take it for a part of the backup: remove it, or"
                " name another file"
            )
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_file() or target.is_symlink():
        raise LedgerError(f"{target} is no ordinary file: name another one")
    if not replace:
        raise LedgerError(f"{target} exists: name another file, or add --force to replace it")


@contextlib.contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """An empty file of mode 0600 beside the target, which goes if it has not got its name."""
    try:
        with draft_of(target, 0o600) as draft:
            _remove_side_files(draft)  # of a command that was killed
            try:
                yield draft
            finally:
                _remove_side_files(draft)
    except OSError as error:
        raise LedgerError(f"cannot write {target}: {error.strerror or error}") from error


def _remove_side_files(draft: Path) -> None:
    for end in (*_SIDE_FILES, "-shm"):
        with contextlib.suppress(OSError):
            draft.with_name(draft.name + end).unlink(missing_ok=True)


def _copy(path: Path, draft: Path, told: Told) -> None:
    with reading(path) as source:
        head(source)  # the first look fixes the moment that is copied
        try:
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                source.backup(
                    copy,
                    pages=STEP_PAGES,
                    progress=lambda _status, left, of: told("Copying", of - left, of),
                )
                # One file that needs none beside it, also where it cannot be written. A process
                # that opens it as its ledger turns the log on again.
                (mode,) = copy.execute("PRAGMA journal_mode = DELETE").fetchone()
                assert mode == "delete", "nothing else has the file open"
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot copy {path} to {draft}: {error}") from error


def _verified(reader: SqliteReader, key_file: Path, told: Told) -> BookVerified:
    """What the check of the whole copy found. Raises BackupDamaged if anything is wrong."""
    of, done = 2 * reader.head(), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        told("Verifying", done, of)

    found = verify(reader, key_file if key_file.exists() else None, advance)
    if found.found:
        raise BackupDamaged(
            f"the copy is not as the book was written: {found.findings[0].what}. Look at the ledger"
            " itself with `tollkeeper ledger verify`. No backup was made; --no-verify makes one of"
            " the ledger as it is",
            found,
        )
    return found


def _durable(draft: Path) -> tuple[str, int]:
    """Bring the file to the disk; its SHA-256 in hex, and its bytes."""
    digest = hashlib.sha256()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
        while part := file.read(_READ_BYTES):
            digest.update(part)
        return digest.hexdigest(), file.tell()
