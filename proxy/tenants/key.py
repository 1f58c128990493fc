"""The text of keys that the proxy makes: a prefix, random characters, check characters."""

from __future__ import annotations

import string
import zlib

PREFIX = "sk-tk-"
BODY_CHARS = 30
CHECK_CHARS = 6  # 62**6 > 2**32: every CRC-32 fits
KEY_BYTES_MIN = 32
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def make_key(random_bytes: bytes) -> str:
    """A new key: `sk-tk-`, 30 random base62 characters, 6 check characters.

    Takes at least 32 random bytes, so that the bias is below 2**-76.
    """
    assert len(random_bytes) >= KEY_BYTES_MIN, "too few random bytes for an unbiased key"
    body = _base62(int.from_bytes(random_bytes, "big") % 62**BODY_CHARS, BODY_CHARS)
    return PREFIX + body + _check_chars(body)


def check(key: str) -> bool:
    """Whether a key of this proxy is complete: its check characters fit."""
    body, given = key[len(PREFIX) : -CHECK_CHARS], key[-CHECK_CHARS:]
    shaped = (
        key.startswith(PREFIX) and len(body) == BODY_CHARS and all(char in _BASE62 for char in body)
    )
    return shaped and given == _check_chars(body)


def _check_chars(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
