"""Looks at JSON objects as text: offsets of values, names that occur twice, escapes for nothing.

All of it is one pass of possessive regular expressions: linear, and nothing recursive that depth
could break.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OPEN = re.compile(rb"[ \t\r\n]*+\{")
_NAME = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_NEXT = re.compile(rb"[ \t\r\n]++[,}]")
_COMMA, _CLOSE, _BACKSLASH = b",}\\"
_SPACE = b" \t\r\n"
# Text up to the first escape that is a lone surrogate (or none at all), so many escapes at a time;
# and that escape.
_SOUND = re.compile(
    rb"[^\\]*+(?:\\(?:[^u]|u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?![dD][89a-fA-F])))[^\\]*+){0,16384}+",
    re.DOTALL,
)
_LONE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_REPAIRS_MAX = 1000
_REPAIR_BYTES_MAX = 8 * 1024 * 1024
_STEP_BYTES = 2**20  # looked through at a time: one call holds the interpreter's lock to its end


class Ambiguous(Exception):
    """A name occurs twice in an object."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def walk(text: bytes, fields: Mapping[str, msgspec.Raw]) -> tuple[dict[str, tuple[int, int]], int]:
    """[start, end) of each value in `text`, and the offset behind its `{`.

    `fields` is what a decoder read from it. Ambiguous if a name occurs twice.

    The proof: `fields` holds the LAST value of each name. If name after name the text goes on with
    exactly that value and ends behind the last one, then there is no room in it for another. Names
    are compared as decoded, so an escaped spelling is the same name.
    """
    plain = laid_out(text, fields)
    if plain is not None:
        return plain, 1
    opened = _OPEN.match(text)
    assert opened is not None, "a decoder has read an object from this text"
    spans: dict[str, tuple[int, int]] = {}
    at = opened.end()
    while fields:
        match = _NAME.match(text, at)
        assert match is not None, "a decoder has read names from this text"
        quoted = match[1]
        name = (
            msgspec.json.decode(quoted, type=str) if _BACKSLASH in quoted else quoted[1:-1].decode()
        )
        value = bytes(fields[name])
        start = match.end()
        end = start + len(value)
        if name in spans or not text.startswith(value, start):
            raise Ambiguous(name)
        spans[name] = (start, end)
        at = end + 1
        sign = text[end]
        if sign in _SPACE:
            following = _NEXT.match(text, end)
            if following is None:
                raise Ambiguous(name)
            at = following.end()
            sign = text[at - 1]
        if sign == _CLOSE:
            break
        if sign != _COMMA:  # the value goes on here: this is not the last one of its name
            raise Ambiguous(name)
    return spans, opened.end()


def laid_out(text: bytes, fields: Mapping[str, msgspec.Raw]) -> dict[str, tuple[int, int]] | None:
    """The spans in a text without any blank, as nearly all clients write it; None for another one.

    The proof is the length alone: each name once, spelt as it is decoded, and each value take as
    many bytes as the text has, so there is room for nothing else. It takes a fifth of the walk.
    """
    if len(text) != sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields) + 1:
        return None
    spans: dict[str, tuple[int, int]] = {}
    at = 4
    for name, value in fields.items():
        start = at + len(name)
        end = start + len(value)
        spans[name] = (start, end)
        at = end + 4
    return spans


def count(text: bytes, sought: bytes) -> int:
    """How often `sought`, which does not overlap itself, stands in the text; counted in steps."""
    return sum(
        text.count(sought, at, at + _STEP_BYTES + len(sought) - 1)
        for at in range(0, len(text), _STEP_BYTES)
    )


def holds(text: bytes, sought: bytes) -> bool:
    """Whether `sought` stands in the text; looked for in steps."""
    return any(
        text.find(sought, at, at + _STEP_BYTES + len(sought) - 1) >= 0
        for at in range(0, len(text), _STEP_BYTES)
    )


def repair_surrogates(text: bytes) -> bytes | None:
    """The text with each lone surrogate escape replaced, length and offsets kept.

    None if there is none, or if there are so many, or so much text, that it is not worth the time.
    """
    if len(text) > _REPAIR_BYTES_MAX:
        return None
    pieces: list[bytes] = []
    repairs = at = 0
    while repairs <= _REPAIRS_MAX:
        sound = _SOUND.match(text, at)
        end = at if sound is None else sound.end()
        if end > at:  # perhaps only a step, so what follows may be whole as well
            pieces.append(text[at:end])
            at = end
            continue
        lone = _LONE.match(text, at)
        if lone is None:
            pieces.append(text[at:])
            return b"".join(pieces) if repairs else None
        pieces.append(b"\\ufffd")
        repairs += 1
        at = lone.end()
    return None
