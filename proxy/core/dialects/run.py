"""Chunks of a stream that differ from the one before in nothing but their text, as nearly all do.

What stands around the text was read once, and means the same each time. So such a chunk is
compared, and its text is set aside until the meter takes it over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

_SIGNS = _QUOTE, _BACKSLASH, _LF, _CR = tuple(b'"\\\n\r')


class Run:
    """Takes such chunks in place of the meter's `feed`.

    around_bytes · of each chunk, what is not the text
    """

    __slots__ = (
        "_before",
        "_behind",
        "_chunk_bytes_max",
        "_end",
        "_padded",
        "_piece_bytes_max",
        "_pieces",
        "_start",
        "_text_in",
        "around_bytes",
    )

    def __init__(
        self,
        before: bytes,
        behind: bytes,
        text_in: Callable[[bytes], bytes | None],
        padding_bytes: int = 0,
    ) -> None:
        self._before = before
        self._behind = behind
        self._start = len(before)
        self._end = -len(behind)
        self._padded = padding_bytes > 0
        self._text_in = text_in  # of a chunk that is alike; None if it is not
        # What introduces a padding is around the text too. (The padding itself is not.)
        self.around_bytes = len(before) + padding_bytes + len(behind)
        self._piece_bytes_max = -1
        self._chunk_bytes_max = 0
        self._pieces: list[bytes] = []

    def take(self, chunk: bytes) -> int | None:
        """The bytes of text in this chunk. None: it is not one, and the meter has to read it."""
        if not (chunk.startswith(self._before) and chunk.endswith(self._behind)):
            return None
        piece: bytes | None = chunk[self._start : self._end]
        assert piece is not None
        if (
            self._padded
            or not piece
            or _QUOTE in piece
            or _BACKSLASH in piece
            or _LF in piece
            or _CR in piece
        ):
            # Something more than plain text: escapes, or padding behind it, which may be missing.
            # Such a chunk may be longer than its text tells.
            if len(chunk) > self._chunk_bytes_max:
                return None
            piece = self._text_in(chunk)
            if piece is None:
                return None
        size = len(piece)
        if size > self._piece_bytes_max:
            return None
        self._pieces.append(piece)
        return size

    def take_front(
        self, chunks: Sequence[bytes], *, piece_bytes_max: int, text_bytes_max: int
    ) -> tuple[int, int]:
        """How many chunks in front it takes at once, and the bytes of their texts.

        Of each text there are at most so many, and of all. Those behind may still be for `take`.
        """
        if self._padded:
            return 0, 0
        if piece_bytes_max > self._piece_bytes_max:
            piece_bytes_max = self._piece_bytes_max
        texts = plain_texts(chunks, self._before, self._behind, piece_bytes_max)
        text_bytes = sum(map(len, texts))
        if text_bytes > text_bytes_max:
            texts = texts[: bisect_right(list(accumulate(map(len, texts))), text_bytes_max)]
            text_bytes = sum(map(len, texts))
        self._pieces += texts
        return len(texts), text_bytes

    def take_over(self) -> list[bytes]:
        """Hands out the texts that were taken since, as UTF-8."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def allow(self, piece_bytes_max: int, chunk_bytes_max: int) -> None:
        """Longer texts, and longer chunks, are left to the meter from now on. At first, all are."""
        self._piece_bytes_max = min(piece_bytes_max, chunk_bytes_max - self.around_bytes)
        self._chunk_bytes_max = chunk_bytes_max


def plain_texts(
    events: Sequence[bytes], before: bytes, behind: bytes, text_bytes_max: int
) -> list[bytes]:
    """The texts of the events in front that have nothing else between these two.

    They have no escape, and at most so many bytes each. What stands where a text has to be is cut
    out of all events, they are written anew around it, and compared as a whole: that takes a
    seventh of the time of a look at each.
    """
    start, stop = len(before), -len(behind)
    around_bytes = len(before) + len(behind)
    if min(map(len, events), default=0) < around_bytes:
        # One that is cut, and would seem to go on in the next.
        short = (number for number, event in enumerate(events) if len(event) < around_bytes)
        events = events[: next(short, 0)]
    texts = [event[start:stop] for event in events]
    whole = b"".join(texts)
    if (
        _QUOTE in whole
        or _BACKSLASH in whole
        or _LF in whole
        or _CR in whole
        or max(map(len, texts), default=0) > text_bytes_max
    ):
        texts = texts[: _plain_in_front(texts, whole, text_bytes_max)]
    if not texts:
        return texts
    written = before + (behind + before).join(texts) + behind
    data = b"".join(events)
    if not data.startswith(written):
        # Up to which of them it is so. Each look compares all before it, so it is bisected.
        ends = list(accumulate(len(text) + around_bytes for text in texts))
        differs = bisect_left(ends, True, key=lambda end: not data.startswith(written[:end]))
        texts = texts[:differs]
    return texts


def _plain_in_front(texts: list[bytes], whole: bytes, text_bytes_max: int) -> int:
    """How many texts in front have no escape, and at most so many bytes. `whole` is all of them."""
    found = [at for sign in _SIGNS if (at := whole.find(sign)) >= 0]
    sizes = list(map(len, texts))
    count = bisect_right(list(accumulate(sizes)), min(found)) if found else len(texts)
    if max(sizes[:count], default=text_bytes_max) > text_bytes_max:
        return next(number for number, size in enumerate(sizes) if size > text_bytes_max)
    return count
