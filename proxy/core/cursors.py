"""Places in the book as a caller may see them: they tell nothing of how much others have used."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

_BYTES: Final = 8
SEQ_MAX: Final = 2**63 - 1


class Cursors:
    """Makes a text of a seq, and a seq of the text. Nobody without the key makes or reads one."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sealed(self, seq: int) -> str:
        """The same text for the same seq."""
        plain = seq.to_bytes(_BYTES)
        proof = self._made(b"proof", plain)
        return base64.urlsafe_b64encode(proof + self._mixed(plain, proof)).decode().rstrip("=")

    def opened(self, text: str) -> int | None:
        """The seq; None for a text that was not made with this key."""
        try:
            given = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        proof, mixed = given[:_BYTES], given[_BYTES:]
        plain = self._mixed(mixed, proof)
        genuine = len(given) == 2 * _BYTES and hmac.compare_digest(
            proof, self._made(b"proof", plain)
        )
        return int.from_bytes(plain) if genuine else None

    def _made(self, what: bytes, of: bytes) -> bytes:
        return hmac.digest(self._key, what + of, "sha256")[:_BYTES]

    def _mixed(self, text: bytes, proof: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(text, self._made(b"mixed", proof), strict=False))
