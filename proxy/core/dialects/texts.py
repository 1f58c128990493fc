"""Gathers the text of an answer as it flows by, and hands it out in blocks to be counted."""

from __future__ import annotations

from proxy.core.tokens.text import TextBlocks

# of one text that are decoded together: for most events there is nothing to do but keep their bytes
_RUN_BYTES_MAX = 1024


class Texts:
    """Takes the texts of an answer as UTF-8, up to `bytes_max` (None: all of it).

    key · tells the texts of one answer apart, since each is encoded for itself: which choice, which
    field of it, which call
    blocks · what waits to be counted, until `take_blocks`
    """

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_key",
        "_run",
        "_run_bytes",
        "_taken_bytes",
        "blocks",
        "counting",
        "whole",
    )

    def __init__(self, bytes_max: int | None) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0  # taken, those in the run included
        self._taken_bytes = 0
        self._key: object = None
        self._run: list[bytes] = []
        self._run_bytes = 0
        self.counting = TextBlocks()
        self.blocks: list[str] = []
        self.whole = True  # nothing was left out for want of room

    def add(self, key: object, piece: bytes) -> None:
        """The next piece of a text."""
        if not self.whole:
            return
        if self._bytes_max is not None and self._bytes + len(piece) > self._bytes_max:
            self.whole = False
            piece = _beginning(piece, self._bytes_max - self._bytes)
            if not piece:
                return
        if key != self._key or self._run_bytes >= _RUN_BYTES_MAX:
            self._flush()
            self._key = key
        self._bytes += len(piece)
        self._run_bytes += len(piece)
        self._run.append(piece)

    def add_all(self, key: object, pieces: list[bytes], size_bytes: int) -> None:
        """The same for several pieces of one text, of so many bytes together."""
        if self.whole and (self._bytes_max is None or self._bytes + size_bytes <= self._bytes_max):
            if key != self._key or self._run_bytes >= _RUN_BYTES_MAX:
                self._flush()
                self._key = key
            self._bytes += size_bytes
            self._run_bytes += size_bytes
            self._run += pieces
            return
        for piece in pieces:
            self.add(key, piece)

    def finish(self) -> None:
        """The answer is over: the rest becomes blocks too."""
        self._flush()
        self.blocks += self.counting.finish()

    def take_blocks(self) -> list[str]:
        """Hands out the blocks that wait; the caller tells `counting` what each comes to."""
        blocks, self.blocks = self.blocks, []
        return blocks

    def tokens(self, delivered_bytes: int) -> int | None:
        """Tokens of the whole answer, of which `delivered_bytes` of text were delivered.

        What was not counted is extrapolated. None: there is nothing to go by.
        """
        counted = self.counting.tokens
        if counted is None or self.whole or self._taken_bytes == 0:
            return counted
        return -(-counted * delivered_bytes // self._taken_bytes)

    def characters(self, delivered_bytes: int) -> int:
        """Characters of the whole answer, as `tokens` has its tokens."""
        seen = self.counting.characters
        return (
            seen
            if self.whole or self._taken_bytes == 0
            else -(-seen * delivered_bytes // self._taken_bytes)
        )

    def _flush(self) -> None:
        if self._run:
            text = b"".join(self._run).decode("utf-8", "replace")
            self._run.clear()
            self._taken_bytes += self._run_bytes
            self._run_bytes = 0
            self.blocks += self.counting.add(self._key, text)


def _beginning(piece: bytes, size_bytes: int) -> bytes:
    """At most so many bytes of it, cut where no character is cut."""
    while size_bytes and (piece[size_bytes] & 0xC0) == 0x80:
        size_bytes -= 1
    return piece[:size_bytes]
