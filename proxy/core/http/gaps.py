"""Lines that are sent again and again, but for some values: written once, with gaps for these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

_MARK = b"\0"  # no line of a head has it


def mark(number: int) -> bytes:
    """What stands for the value of this number while the lines are written."""
    return b"%b%d%b" % (_MARK, number, _MARK)


class Template:
    """Lines that were written with marks."""

    __slots__ = ("_lines", "_pick")

    def __init__(self, lines: bytes) -> None:
        parts = lines.split(_MARK)
        self._lines = lines
        self._pick: Callable[[Sequence[bytes]], object] | None = None
        if len(parts) > 1:
            self._lines = b"%b".join([part.replace(b"%", b"%%") for part in parts[::2]])
            self._pick = itemgetter(*map(int, parts[1::2]))

    def filled(self, values: Sequence[bytes]) -> bytes:
        """The lines with these values, each at the mark of its number."""
        return self._lines if self._pick is None else self._lines % self._pick(values)
