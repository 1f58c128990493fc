"""Events that are like the last one but for their number and their text: nearly all of a stream.

OpenAI puts random padding behind the text as well. Such an event is compared and not parsed. What
stands around the three holes was parsed once, and means the same each time.
"""

from __future__ import annotations

from typing import Final

from proxy.core.dialects.openai_responses.delivered import Place

_NUMBER: Final = b'"sequence_number":'
_DELTA: Final = b'"delta":"'
_PADDING: Final = b'"obfuscation":"'
_COMMA, _QUOTE, _BACKSLASH, _LF, _CR = b',"\\\n\r'
_END: Final = b"\n\n"


class AlikePieces:
    """One chunk that was one event with a piece of this text, as what stands around its holes."""

    __slots__ = ("_before", "_behind", "_between", "_padding", "place")

    def __init__(
        self, before: bytes, between: bytes, padding: bytes, behind: bytes, place: Place
    ) -> None:
        self._before = before  # up to the number
        self._between = between  # from the number to the text
        self._padding = padding  # from the text to the padding; empty where there is none
        self._behind = behind  # from there to the end
        self.place = place

    @classmethod
    def of(cls, chunk: bytes, place: Place) -> AlikePieces | None:
        """The shape of a chunk that is one event, whose piece of text was read.

        None where it cannot be told where the three stand.
        """
        number = chunk.find(_NUMBER)
        begins = chunk.find(_DELTA, number)
        if number < 0 or begins < 0 or chunk.count(_END) != 1 or not chunk.endswith(_END):
            return None
        if chunk.count(_DELTA) != 1 or chunk.count(_NUMBER) != 1 or _BACKSLASH in chunk:
            return None
        number += len(_NUMBER)
        begins += len(_DELTA)
        comma, ends = chunk.find(b",", number), chunk.find(b'"', begins)
        if not chunk[number:comma].isdigit():
            return None
        padded = chunk.find(_PADDING, ends)
        if padded < 0:
            return cls(chunk[:number], chunk[comma:begins], b"", chunk[ends:], place)
        padded += len(_PADDING)
        behind = chunk[chunk.find(b'"', padded) :]
        return cls(chunk[:number], chunk[comma:begins], chunk[ends:padded], behind, place)

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
        ends = chunk.find(_QUOTE, at)
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
        if _BACKSLASH in text or _LF in text or _CR in text or ends < 0:
            return None
        return number, text
