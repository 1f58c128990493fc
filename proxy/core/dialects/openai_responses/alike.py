"""Events that are like the last one but for their number and their text: nearly all of a stream.

OpenAI puts random padding behind the text as well. Such an event is compared and not parsed. What
stands around the three holes was parsed once, and means the same each time.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.core.dialects.json_text import unescaped
from proxy.core.dialects.openai_responses.delivered import Place
from proxy.core.dialects.run import Run

# Of values that hold no quote: some servers put a blank in front of each.
_NUMBER: Final = re.compile(rb'"sequence_number": ?([0-9]+)(?=[,}])')
_DELTA: Final = re.compile(rb'"delta": ?"([^"]*)"')
_PADDING: Final = re.compile(rb'"obfuscation": ?"([^"]*)"')
_COMMA, _QUOTE, _BACKSLASH, _LF, _CR = b',"\\\n\r'
_END: Final = b"\n\n"


class AlikePieces:
    """One chunk that was one event with a piece of this text, as what stands around its holes."""

    __slots__ = ("_before", "_behind", "_between", "_padding", "number", "place")

    def __init__(
        self, before: bytes, between: bytes, padding: bytes, behind: bytes, place: Place
    ) -> None:
        self._before = before  # up to the number
        self._between = between  # from the number to the text
        self._padding = padding  # from the text to the padding; empty where there is none
        self._behind = behind  # from there to the end
        self.place = place
        self.number = b""  # of the last one whose text was read

    @classmethod
    def of(cls, chunk: bytes, place: Place) -> AlikePieces | None:
        """The shape of a chunk that is one event, whose piece of text was read.

        None where it cannot be told where the three stand.
        """
        if _BACKSLASH in chunk or chunk.count(_END) != 1 or not chunk.endswith(_END):
            return None
        numbers, deltas = _NUMBER.findall(chunk), _DELTA.findall(chunk)
        number, delta = _NUMBER.search(chunk), _DELTA.search(chunk)
        if number is None or delta is None or len(numbers) > 1 or len(deltas) > 1:
            return None
        if number.end(1) > delta.start(1):
            return None
        before, between = chunk[: number.start(1)], chunk[number.end(1) : delta.start(1)]
        ends = delta.end(1)
        padding = _PADDING.search(chunk, ends)
        if padding is None:
            return cls(before, between, b"", chunk[ends:], place)
        introduced, behind = chunk[ends : padding.start(1)], chunk[padding.end(1) :]
        return cls(before, between, introduced, behind, place)

    def read(self, chunk: bytes) -> tuple[bytes, bytes] | None:
        """The number and the piece of text in a chunk of this shape; None if it is not."""
        before, between, padding = self._before, self._between, self._padding
        if not chunk.startswith(before) or not chunk.endswith(self._behind):
            return None
        at = len(before)
        comma = chunk.find(_COMMA, at)
        number = chunk[at:comma]
        if not number.isdigit() or not chunk.startswith(between, comma):
            return None
        at = comma + len(between)
        ends = chunk.find(padding or self._behind, at)
        text = chunk[at:ends]
        if padding:
            if not chunk.startswith(padding, ends):
                return None
            ends += len(padding)
            if len(chunk) < ends + len(self._behind):
                return None
            rest = chunk[ends : -len(self._behind)]
            if _QUOTE in rest or _BACKSLASH in rest or _LF in rest or _CR in rest:
                return None
        elif len(chunk) != ends + len(self._behind):
            return None
        if ends < 0 or _LF in text or _CR in text:
            return None
        if _BACKSLASH in text:
            whole = unescaped(text)
            return None if whole is None else (number, whole)
        return None if _QUOTE in text else (number, text)

    def text(self, chunk: bytes) -> bytes | None:
        """The piece of text in a chunk of this shape, whose number is kept; None if it is not."""
        read = self.read(chunk)
        if read is None:
            return None
        self.number, text = read
        return text

    def run(self, chunk_bytes_max: int) -> Run:
        """Takes such chunks, of at most so many bytes, before they come here."""
        holes_bytes = len(self._between) + len(self._padding)
        run = Run(self._before, self._behind, self.text, holes_bytes)
        run.allow(chunk_bytes_max, chunk_bytes_max)
        return run
