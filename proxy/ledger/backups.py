"""Copies a ledger into one file while it is in use, and checks the copy before it gets its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from proxy.ledger import LedgerError, database
from proxy.ledger.verification import BookVerified
from proxy.system.backends import masked

Told = Callable[[str, int, int], None]  # what is done, how much of it by now, and how much there is


class BackedUp(msgspec.Struct, frozen=True):
    """A copy of a ledger as it stood at one moment.

    `sha256` is that of the file, `last_hash` that of the last record; both have 64 hex digits.
    `last_hash` is None, and `last_seq` 0, in a book without records. `verified`: None if the copy
    was not checked.
    """

    path: str
    bytes: int
    sha256: str
    last_seq: int
    last_hash: str | None
    verified: BookVerified | None


class BackupDamaged(LedgerError):
    """The copy is not as the book was written; `found` says what is wrong."""

    def __init__(self, message: str, found: BookVerified) -> None:
        super().__init__(message)
        self.found = found


class NoBackup(LedgerError):
    """A ledger of this kind is backed up with the tools of its database; the message names them."""


def back_up(
    url: str,
    data_dir: Path,
    target: Path,
    *,
    key_file: Path,
    replace: bool = False,
    check: bool = True,
    told: Told = lambda _what, _done, _of: None,
) -> BackedUp:
    """Copy the ledger into `target`, which has its name only when it is whole, checked and durable.

    Processes may book meanwhile. `key_file` checks the seals, and is not copied.

    Raises NoBackup, BackupDamaged, LedgerError with another reason, LedgerUnavailable.
    """
    module = database(url, "back_up")
    if module is None:
        raise NoBackup(
            f"{masked(url)} is backed up with PostgreSQL's own tools: `pg_dump --format=custom`, or"
            " a base backup with archived WAL, which loses nothing. Keep the key of the seals apart"
            " from it. docs/keeping.md says how to restore."
        )
    done: BackedUp = module.back_up(
        url, data_dir, target, key_file=key_file, replace=replace, check=check, told=told
    )
    return done
