"""Signatures with ed25519, by the library cryptography; `signing` loads this file where it is."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class MonthSigner:
    """Signs with the private key of a PEM text. Raises ValueError where that holds no such key."""

    def __init__(self, pem: bytes) -> None:
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError as error:  # it has a password
            raise ValueError(str(error)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("a key of another kind than ed25519")
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()

    def sign(self, text: str | bytes) -> bytes:
        """The signature of a text, 64 bytes."""
        return self._key.sign(text.encode() if isinstance(text, str) else text)


def new_pem() -> bytes:
    """A new private key as a PEM text."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def is_signed(text: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the signature is this key's."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
