"""Signatures with ed25519, as RFC 8032 has them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.ledger.ed25519 import MonthSigner, is_signed, new_pem

# RFC 8032, 7.1, the second test: a message of one byte.
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_signature_is_the_one_of_the_rfc() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signer = MonthSigner(pem)
    assert signer.public_key.hex() == PUBLIC
    assert signer.sign("r").hex() == SIGNATURE
    assert is_signed(b"r", bytes.fromhex(SIGNATURE), bytes.fromhex(PUBLIC))
    assert not is_signed(b"s", bytes.fromhex(SIGNATURE), bytes.fromhex(PUBLIC))


def test_each_key_is_another_one() -> None:
    assert MonthSigner(new_pem()).public_key != MonthSigner(new_pem()).public_key
    with pytest.raises(ValueError):
        MonthSigner(b"")
