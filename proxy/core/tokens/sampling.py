"""Counts windows of a prompt that is too large, or too nested, to be counted whole.

How many bytes a token has depends on the text: four of English, three of Chinese or digits, one of
rare signs. The windows must be like the rest, so one lies in each of many equal stretches, at a
place that the author of the request cannot know. Its JSON is read as text, escapes undone: names
and brackets count too, a little more than a vendor makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from proxy.core.tokens.text import Count, extrapolated

WINDOWS: Final = 512
WINDOW_BYTES: Final = 512
PIECE_BYTES: Final = 8_192  # of a body that is small enough to be counted whole
# Blanks are hundreds of bytes to a token. They count as much text, so that they lower nothing.
BYTES_PER_TOKEN_MAX: Final = 8

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# What remains at either end of an escape, or of the two that stand for one sign.
_CUT_OFF: Final = re.compile(
    r"\A[0-9a-fA-Fu]{0,5}(?=\\u)(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    r"|(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:(?<!\\)\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)

Span = tuple[int, int]  # [start, end)


def windows(body: bytes, skipped: Sequence[Span], below: Callable[[int], int]) -> list[bytes]:
    """A window of each stretch of the body, without the spans `skipped`, which come in order.

    `below(n)` chooses a number in 0..n-1. A small body is given back whole, in pieces.
    """
    size = len(body) - sum(end - start for start, end in skipped)
    count = WINDOWS if size > WINDOWS * WINDOW_BYTES else -(-size // PIECE_BYTES)
    found = []
    spans = [*skipped, (len(body), len(body))]
    passed = next_span = 0
    for number in range(count):
        first, last = number * size // count, (number + 1) * size // count
        width = min(WINDOW_BYTES, last - first) if count == WINDOWS else last - first
        first += below(last - first - width + 1)
        while first + passed >= spans[next_span][0] and next_span < len(skipped):
            passed += spans[next_span][1] - spans[next_span][0]
            next_span += 1
        start = first + passed
        found.append(body[start : min(start + width, spans[next_span][0])])
    return found


def sampled(parts: Sequence[bytes], size_bytes: int, count: Count) -> tuple[int, int]:
    """(tokens, characters) of a body of so many bytes, by those of its windows."""
    seen = tokens = characters = 0
    for part in parts:
        text, read_bytes = unescaped(part)
        seen += read_bytes
        tokens += max(count(text), read_bytes // BYTES_PER_TOKEN_MAX)
        characters += len(text)
    if not seen:
        return size_bytes, size_bytes
    return extrapolated(tokens, seen, size_bytes), extrapolated(characters, seen, size_bytes)


def unescaped(part: bytes) -> tuple[str, int]:
    """The text that a piece of JSON stands for, and its bytes; without half signs at its ends."""
    text = part.decode("utf-8", "ignore")
    if "\\" not in text:
        return text, len(text.encode())
    whole = _CUT_OFF.sub("", text)
    plain = _ESCAPE.sub(_meant, whole)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "ignore"), len(whole.encode())


def _meant(escape: re.Match[str]) -> str:
    code, short = escape.groups()
    return chr(int(code, 16)) if code is not None else _SHORT.get(short, short)
