"""The key that seals each batch: 64 hex digits in a file beside the journal.

It is not in the database. A person who can write there but does not have the key can forge a
chain, but not its seals.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from proxy.ledger import LedgerError
from proxy.system.files import sync_directory

_KEY_BYTES = 32


def sealing_key(key_file: Path, is_sealed: Callable[[], bool]) -> bytes:
    """The key in the file, which is made unless a book with seals misses it.

    Raises LedgerError with the remedy.
    """
    if key_file.exists():
        return read_key(key_file)
    if is_sealed():
        raise LedgerError(
            f"the key that seals this ledger is missing: restore {key_file} from a backup, or "
            "copy it from another process that shares the ledger. If it is lost for good, put 64 "
            "random hex digits there: what is booked from then on is sealed with the new key, and "
            "the older seals cannot be checked any more"
        )
    return make_key(key_file)


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
