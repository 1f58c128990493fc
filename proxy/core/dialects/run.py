"""Chunks of a stream that differ from the one before in nothing but their text, as nearly all do.

What stands around the text was read once, and means the same each time. So such a chunk is
compared, and its text is set aside until the meter takes it over.
"""

from __future__ import annotations

from collections.abc import Callable

_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'


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

    def take_over(self) -> list[bytes]:
        """Hands out the texts that were taken since, as UTF-8."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def allow(self, piece_bytes_max: int, chunk_bytes_max: int) -> None:
        """Longer texts, and longer chunks, are left to the meter from now on. At first, all are."""
        self._piece_bytes_max = min(piece_bytes_max, chunk_bytes_max - self.around_bytes)
        self._chunk_bytes_max = chunk_bytes_max
