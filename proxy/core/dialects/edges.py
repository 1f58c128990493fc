"""Reads the two ends of a JSON answer that is too large to keep.

Its usage stands at one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

_BOM = b"\xef\xbb\xbf"
_EDGE_TRIES_MAX = 8
Answer = TypeVar("Answer")


def edge_of(
    head: bytes,
    tail: bytes,
    read: Callable[[bytes], Answer | None],
    read_leniently: Callable[[bytes], Answer | None],
) -> Answer | None:
    """The members around the usage at one of the two ends.

    Nearly all servers have it at the end, llama.cpp's embeddings at the beginning. Both readers
    take the text of a JSON object; None: it is none.
    """
    return _trailing(tail, read) or _leading(head, read_leniently) or _last(tail, read_leniently)


def _trailing(tail: bytes, read: Callable[[bytes], Answer | None]) -> Answer | None:
    """What follows the last `"usage"` up to the end, if that closes exactly one object.

    Then the object is the answer itself, and the usage its own.
    """
    at = len(tail)
    for _ in range(_EDGE_TRIES_MAX):
        at = tail.rfind(b'"usage"', 0, at)
        if at < 0:
            return None
        answer = read(b"{" + tail[at:])
        if answer is not None:
            return answer
    return None


def _last(tail: bytes, read: Callable[[bytes], Answer | None]) -> Answer | None:
    """What follows the last `"usage"`, if it is not quite JSON."""
    at = tail.rfind(b'"usage"')
    return None if at < 0 else read(b"{" + tail[at:])


def _leading(head: bytes, read: Callable[[bytes], Answer | None]) -> Answer | None:
    """What stands before and in a `"usage"` that the top level opens with, cut off behind it."""
    at = -1
    text = head.removeprefix(_BOM).decode("utf-8", "replace")
    for _ in range(_EDGE_TRIES_MAX):
        at = text.find('"usage"', at + 1)
        if at < 0:
            return None
        start = text.find("{", at)
        try:
            _, end = json.JSONDecoder().raw_decode(text, start if start >= 0 else len(text))
        except (ValueError, RecursionError):
            continue
        # One bracket closes it only if it is the top level that was cut off.
        answer = read((text[:end] + "}").encode())
        if answer is not None:
            return answer
    return None
