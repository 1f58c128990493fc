"""Chunks of a stream that differ from the one before in nothing but their text, as nearly all do.

What stands around the text was read once, and means the same each time. So such a chunk is
compared, and its text is set aside until the meter takes it over.
"""

from __future__ import annotations

from collections.abc import Callable


class Run:
    """Takes such chunks in place of the meter's `feed`.

    around_bytes · of each chunk, what is not the text
    """

    __slots__ = ("_piece_bytes_max", "_pieces", "_text_in", "around_bytes")

    def __init__(self, text_in: Callable[[bytes], bytes | None], around_bytes: int) -> None:
        self._text_in = text_in
        self.around_bytes = around_bytes
        self._piece_bytes_max = -1
        self._pieces: list[bytes] = []

    def take(self, chunk: bytes) -> int | None:
        """The bytes of text in this chunk. None: it is not one, and the meter has to read it."""
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

    def allow(self, piece_bytes_max: int) -> None:
        """Longer texts are left to the meter from now on. At first, all are."""
        self._piece_bytes_max = piece_bytes_max
