"""The key that signs sealed months and statements: ed25519, a PEM file beside the sealing key.

The public half may be told to everybody. With it anybody can check a month's root, the proofs under
it and a statement, and nobody can make one.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.ledger import LedgerError
from proxy.system.files import sync_directory

if TYPE_CHECKING:
    from proxy.ledger.ed25519 import MonthSigner

FILE: Final = "ledger.ed25519.pem"


def month_signer(path: Path, *, make: bool) -> MonthSigner | None:
    """The signer of the key in the file. None: there is none, and none is to be made.

    Raises LedgerError with the reason: the library is missing, or the file holds no such key.
    """
    if not path.exists() and not make:
        return None
    library = _library()
    if not path.exists():
        _write(path, library.new_pem())
    try:
        signer: MonthSigner = library.MonthSigner(path.read_bytes())
    except OSError as error:
        raise LedgerError(f"cannot read the key {path}: {error.strerror}") from error
    except ValueError as error:
        raise LedgerError(
            f"{path} holds no ed25519 key in PEM without a password: restore it from a backup"
        ) from error
    return signer


def own_signer(path: Path, has_signatures: Callable[[], bool]) -> MonthSigner:
    """The signer of the key in the file, which is made unless a book with signatures misses it.

    Raises LedgerError with the remedy.
    """
    if not path.exists() and has_signatures():
        raise LedgerError(
            f"the key that signed this ledger's months is missing: restore {path} from a backup, "
            "or copy it from another process that shares the ledger. If it is lost for good, make "
            f"another one with `openssl genpkey -algorithm ed25519 -out {path}`, and keep the old "
            "public key: `ledger verify` tells each earlier month as signed with another one"
        )
    signer = month_signer(path, make=True)
    assert signer is not None, "a key is made"
    return signer


def public_key_beside(key_file: Path | None) -> bytes | None:
    """The public half of the key in the directory of `key_file`, the key that seals batches.

    None where there is none, or where the library is missing. Raises LedgerError for a bad key.
    """
    if key_file is None or not can_sign():
        return None
    signer = month_signer(key_file.with_name(FILE), make=False)
    return None if signer is None else signer.public_key


def is_signed(text: str | bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the signature is this key's. Raises LedgerError without the library."""
    said = text.encode() if isinstance(text, str) else text
    return bool(_library().is_signed(said, signature, public_key))


def can_sign() -> bool:
    """Whether the library is installed."""
    try:
        _library()
    except LedgerError:
        return False
    return True


def _library() -> Any:
    try:
        return importlib.import_module("proxy.ledger.ed25519")
    except ImportError as error:
        raise LedgerError(
            "months and statements are signed with the library cryptography, which is missing: "
            "pip install 'tollkeeper[sign]', and restart the process if one runs"
        ) from error


def _write(path: Path, pem: bytes) -> None:
    """Write the file with mode 0600, durable before it is used.

    One that another process or thread has made meanwhile stays: it may have signed with it.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, pem)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            draft.rename(path)
        draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise LedgerError(f"cannot write the key {path}: {error.strerror}") from error
