"""What is a picture or a sound, and what only says so."""

from __future__ import annotations

import base64

import pytest

from proxy.core.tokens.magic import is_picture, is_sound

PICTURES = [
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x00\x01\x00\x00WEBPVP8 "),
    *(b"\x00\x00\x00\x18ftypheic", b"BM\x36\x00\x0c\x00\x00\x00\x00\x00", b"II*\x00", b"MM\x00*"),
]
SOUNDS = [
    *(b"RIFF\x00\x01\x00\x00WAVEfmt ", b"ID3\x04", b"\xff\xfb\x90", b"OggS", b"fLaC"),
    *(b"\x00\x00\x00\x20ftypM4A ", b"\x1aE\xdf\xa3"),
    b"FORM\x00\x01\x00\x00AIFF",
]


@pytest.mark.parametrize("data", PICTURES)
def test_pictures(data: bytes) -> None:
    assert is_picture(base64.b64encode(data + bytes(90)).decode())
    assert is_picture(base64.urlsafe_b64encode(data + bytes(90)).decode())


@pytest.mark.parametrize("data", SOUNDS)
def test_sounds(data: bytes) -> None:
    assert is_sound(base64.b64encode(data + bytes(90)).decode())


@pytest.mark.parametrize(
    "data", [b"", b"all my words, in clear", b"%PDF-1.7", b"<svg>", b"BMs are words", bytes(99)]
)
def test_what_is_neither(data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    assert not is_picture(encoded) and not is_sound(encoded)
    assert not is_picture(data.decode()) and not is_sound(data.decode())


def test_one_is_not_the_other() -> None:
    assert not is_sound(base64.b64encode(PICTURES[0] + bytes(9)).decode())
    assert not is_picture(base64.b64encode(SOUNDS[0] + bytes(9)).decode())
