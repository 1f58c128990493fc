"""What a JSON string stands for, given its bytes."""

from __future__ import annotations

import json

import msgspec

# What a decoder raises; RecursionError: nesting near 1,000.
JSON_ERRORS = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)
_BACKSLASH = 0x5C
_string_decoder = msgspec.json.Decoder(str)


def plain(inside: bytes) -> bytes:
    """The text that a JSON string stands for, as UTF-8, given what is between its quotes.

    A lone surrogate is 3 bytes, like the sign shown in its place.
    """
    return (
        inside if _BACKSLASH not in inside else string_text(inside).encode("utf-8", "surrogatepass")
    )


def unescaped(inside: bytes) -> bytes | None:
    """The same of a text that surely is one JSON string; None if it is none."""
    try:
        return _string_decoder.decode(b'"' + inside + b'"').encode()
    except JSON_ERRORS:
        return None


def string_text(inside: bytes) -> str:
    """The text that a JSON string stands for, given what is between its quotes.

    What is no JSON string comes back as it stands.
    """
    quoted = b'"' + inside + b'"'
    try:
        return _string_decoder.decode(quoted)
    except JSON_ERRORS:
        pass
    loose = quoted.decode("utf-8", "replace")
    try:
        text = json.loads(loose, strict=False)
    except json.JSONDecodeError:
        return loose[1:-1]
    return text if isinstance(text, str) else loose[1:-1]
