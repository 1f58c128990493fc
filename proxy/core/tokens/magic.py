"""Tells by the first bytes of base64 whether it is a picture or a sound.

What only claims to be one may be text, and counts with its bytes.
"""

from __future__ import annotations

import binascii
from typing import Final

_HEAD_CHARS: Final = 64  # of base64: 48 bytes, and every mark stands in the first twelve
_PICTURES: Final = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"),
    *(b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00", b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
)
_SOUNDS: Final = (
    *(b"ID3", b"OggS", b"fLaC", b"#!AMR", b"\x1aE\xdf\xa3", b".snd\x00"),
    *(b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9"),
)
_BITMAP_AT: Final = 6  # two fields behind its length that are always zero
_BOXED_AT: Final = 4  # HEIC, AVIF and MP4 name their box behind its length
_FORM_AT: Final = 8  # RIFF and FORM name what they hold behind their length


def is_picture(encoded: str) -> bool:
    """PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC, AVIF, icons and JPEG XL."""
    data = _head(encoded)
    return (
        data.startswith(_PICTURES) or _boxed(data) or _bitmap(data) or _held(data, b"RIFF", b"WEBP")
    )


def is_sound(encoded: str) -> bool:
    """WAV, MP3, AAC, Ogg, FLAC, MP4, WebM, AMR, AIFF and Sun's; bare samples cannot be told."""
    data = _head(encoded)
    return (
        data.startswith(_SOUNDS)
        or _boxed(data)
        or _held(data, b"RIFF", b"WAVE")
        or _held(data, b"FORM", b"AIF")
    )


def _boxed(data: bytes) -> bool:
    return data[_BOXED_AT : _BOXED_AT + 4] == b"ftyp"


def _bitmap(data: bytes) -> bool:
    return data.startswith(b"BM") and data[_BITMAP_AT : _BITMAP_AT + 4] == bytes(4)


def _held(data: bytes, holder: bytes, form: bytes) -> bool:
    return data.startswith(holder) and data.startswith(form, _FORM_AT)


def _head(encoded: str) -> bytes:
    """The first bytes, in either alphabet of base64; none if it is neither."""
    head = encoded[:_HEAD_CHARS].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(head[: len(head) // 4 * 4])
    except ValueError:
        return b""
