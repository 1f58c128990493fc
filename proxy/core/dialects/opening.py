"""How an answer's body begins: one JSON value, or many lines that are each one."""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"[\r\n]")
_LF, _CR = b"\n\r"
_GOES_ON = b",}]"  # what a JSON text may go on with behind a brace at the end of a line


class Opening:
    """Tells JSON lines from one JSON value by the beginning of a body that starts with a brace.

    `lines` is True if the first line is an object and another text follows within `bytes_max`, and
    None while that is not known. It keeps one byte, and looks at each byte once until it knows.
    """

    __slots__ = ("_bytes_left", "_first_line", "_last", "lines")

    def __init__(self, bytes_max: int) -> None:
        self.lines: bool | None = None
        self._bytes_left = bytes_max
        self._first_line = True
        self._last = b""  # the last byte of the first line that is no space

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        piece = piece[: self._bytes_left]
        self._bytes_left -= len(piece)
        if self._first_line:
            # Most bodies are one line, and looking for one sign takes an eighth of the pattern.
            end = _LINE_END.search(piece) if _LF in piece or _CR in piece else None
            line = piece if end is None else piece[: end.start()]
            self._last = (line if line[-1:] == b"}" else line.rstrip())[-1:] or self._last
            if end is not None:
                self._first_line = False
                piece = piece[end.end() :]
        following = b"" if self._first_line else piece.lstrip()[:1]
        if following:
            # No JSON value goes on with anything else behind a brace, so what follows is the next
            # one.
            self.lines = self._last == b"}" and following not in _GOES_ON
        elif self._bytes_left == 0:
            self.lines = False
