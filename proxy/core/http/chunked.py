"""Takes a chunked body out of its chunks, whatever pieces it comes in.

It forgives an upstream what aiohttp's parser forgives: blanks behind a size, and a LF alone behind
the data of a chunk or a field. What follows a size behind a semicolon, and the fields behind the
last chunk, are read over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from operator import eq
from typing import Final

from proxy.core.http.response_head import MalformedAnswer

_LINE_BYTES_MAX: Final = 16 * 1024  # of a size with its extensions
_TRAILER_BYTES_MAX: Final = 64 * 1024  # of all fields behind the last chunk
_CR: Final = 0x0D
CRLF: Final = b"\r\n"
_LINE_ENDS: Final = (CRLF, b"\n")
_MANY: Final = 4  # chunks as long as the first: then it is quicker to look at all of them at once
# What small chunks are begun with, as nearly all write it.
_SMALL: Final = {b"%x" % size: size for size in range(1, 1024)}
# The size as nearly all write it. Of seven digits at most, so that no sum gets large.
USUAL_SIZE = re.compile(rb"([0-9a-fA-F]{1,7})\r\n").match
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16}) *(?:;[^\r\n]*+\r?\n|\r\n)").fullmatch
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*+\r?\n").fullmatch


def framed_bytes(sizes: Iterable[int]) -> int:
    """The bytes that small chunks of these sizes take with their framing."""
    return sum((size.bit_length() + 3) // 4 + size + 2 * len(CRLF) for size in sizes)


def small_chunks(data: bytes, at: int) -> tuple[list[bytes], int]:
    """What stands in the small chunks from `at` on, and the place behind the last of them.

    They are told by the line ends, at which everything is cut at once: none stands in an event. A
    chunk that has one, is large or not whole ends them. It takes a quarter of the time of a look at
    each.
    """
    parts = data[at:].split(CRLF)
    sizes, pieces = parts[:-1:2], parts[1:-1:2]
    stated = list(map(_SMALL.get, sizes))
    found = list(map(len, pieces))
    if len(sizes) > len(pieces):
        stated.pop()  # its chunk is not whole
    if stated != found:
        whole = map(eq, stated, found)
        pieces = pieces[: next(number for number, one in enumerate(whole) if not one)]
    count = len(pieces)
    return pieces, at + sum(map(len, sizes[:count])) + sum(found[:count]) + 2 * len(CRLF) * count


class _Awaits(Enum):
    SIZE = 1
    DATA = 2
    DATA_END = 3
    TRAILER = 4


class ChunkedReader:
    """`feed` all that comes, and take the body out of it.

    between · a chunk begins with the next byte
    goes_on · neither of the two below is known yet
    over · the last chunk has come      trailed · fields came behind it
    surplus · bytes came behind all of it, and were not read
    fault · why it is no chunked body; what comes behind that is not read
    """

    __slots__ = (
        "_awaits",
        "_left",
        "_line",
        "_trailer_bytes",
        "between",
        "fault",
        "goes_on",
        "over",
        "surplus",
        "trailed",
    )

    def __init__(self) -> None:
        self.goes_on = True
        self.over = False
        self.trailed = False
        self.surplus = False
        self.fault: MalformedAnswer | None = None
        self.between = True
        self._awaits = _Awaits.SIZE
        self._left = 0  # bytes of the chunk that are still to come
        self._line = b""  # the line that is not whole yet
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in what has come."""
        if not self.between:
            return b"".join(self._take_parts(data))
        # What nearly every read is: whole chunks.
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            line = USUAL_SIZE(data, at)
            if line is None:
                break
            start = line.end()
            end = start + int(line[1], 16)
            if start == end or data[end : end + 2] != CRLF:
                break
            pieces.append(data[start:end])
            at = end + 2
            if len(pieces) == 1 and size > _MANY * at:
                more, at = small_chunks(data, at)
                pieces += more
        else:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return b"".join([*pieces, *self._take_parts(data[at:])])

    def _take_parts(self, data: bytes) -> list[bytes]:
        """The same for any data: a part of a chunk, a line that is not whole, the end."""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size and self.goes_on:
            if self._awaits is _Awaits.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._awaits = _Awaits.DATA_END
                continue
            end = data.find(b"\n", at) + 1
            piece = data[at : end or size]
            at += len(piece)
            self._line += piece
            if end:
                line, self._line = self._line, b""
                self._take_line(line)
            elif not self._may_become_line():
                self._break()
        self.surplus |= self.over and at < size
        self.between = self._awaits is _Awaits.SIZE and not self._line and self.goes_on
        return pieces

    def _may_become_line(self) -> bool:
        """Whether the line that has begun can still become one that may stand here."""
        if self._awaits is _Awaits.DATA_END or self._line[0] == _CR:
            return self._line == b"\r"
        return len(self._line) <= _LINE_BYTES_MAX

    def _take_line(self, line: bytes) -> None:
        """A whole line, its end included."""
        if self._awaits is _Awaits.DATA_END:
            if line in _LINE_ENDS:
                self._awaits = _Awaits.SIZE
            else:
                self._break()
        elif self._awaits is _Awaits.SIZE:
            size = None if len(line) > _LINE_BYTES_MAX else _SIZE(line)
            if size is None:
                self._break()
                return
            self._left = int(size[1], 16)
            self._awaits = _Awaits.DATA if self._left else _Awaits.TRAILER
        elif line in _LINE_ENDS:
            self.over = True
            self.goes_on = False
        else:
            self.trailed = True
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _TRAILER_BYTES_MAX or _FIELD(line) is None:
                self._break()

    def _break(self) -> None:
        self.goes_on = False
        self.fault = MalformedAnswer("answered in chunks that are not well-formed")
