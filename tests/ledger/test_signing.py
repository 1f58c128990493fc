"""The key that signs months: made once, private, and never taken for another."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from proxy.ledger import LedgerError
from proxy.ledger.signing import FILE, can_sign, is_signed, month_signer


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    assert month_signer(path, make=False) is None
    first = month_signer(path, make=True)
    again = month_signer(path, make=False)
    assert first is not None and again is not None
    assert first.public_key == again.public_key and len(first.public_key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    signature = again.sign("text")
    assert is_signed("text", signature, first.public_key)
    assert not is_signed("texT", signature, first.public_key)
    assert not is_signed("text", signature, bytes(32))
    assert not is_signed("text", b"", first.public_key)


@pytest.mark.parametrize("held", ["", "no key", "x25519", "password"])
def test_what_is_no_such_key_is_told(tmp_path: Path, held: str) -> None:
    path = tmp_path / "k.pem"
    secret = held == "password"
    key = x25519.X25519PrivateKey if held == "x25519" else ed25519.Ed25519PrivateKey
    pem = key.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x") if secret else serialization.NoEncryption(),
    )
    path.write_bytes(pem if held in ("x25519", "password") else held.encode())
    with pytest.raises(LedgerError, match="restore"):
        month_signer(path, make=True)


def test_a_key_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot write the key"):
        month_signer(tmp_path / "nowhere" / "k.pem", make=True)


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_sign()
    for name in list(sys.modules):
        if name.startswith("cryptography") or name == "proxy.ledger.ed25519":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert not can_sign()
    with pytest.raises(LedgerError, match=r"pip install 'tollkeeper\[sign\]'"):
        month_signer(tmp_path / "k.pem", make=True)


def test_threads_that_need_the_first_key_at_once_have_one(tmp_path: Path) -> None:
    """Else the last of them would replace a key that had signed already."""
    path, start = tmp_path / FILE, threading.Barrier(8)

    def made(_: int) -> bytes:
        start.wait()
        signer = month_signer(path, make=True)
        assert signer is not None
        return signer.public_key

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(made, range(8)))
    assert len(keys) == 1 and [one.name for one in tmp_path.iterdir()] == [FILE]
    assert path.stat().st_mode & 0o777 == 0o600
