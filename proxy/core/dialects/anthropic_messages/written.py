"""The text of a message on its way to be counted: each block is a text of its own.

The blocks of a stream bring increments, and a client appends them. The input of a call comes in
pieces of JSON too; some servers put all of it into the event that begins the block, and send no
pieces: then that is the input.
"""

from __future__ import annotations

from proxy.core.dialects.anthropic_messages.events import (
    ContentBlock,
    Delta,
    input_of,
    written_at_start,
    written_in,
)
from proxy.core.dialects.texts import Texts


class WrittenBlocks:
    """Takes blocks and deltas one after the other; each says how many bytes of text are new.

    text_bytes · UTF-8 bytes of the text that a client has assembled
    unread_bytes · of events that could not be read: they count with all their bytes
    """

    __slots__ = ("_input", "_texts", "text_bytes", "unread_bytes")

    doubtful = False  # nothing of a message comes twice

    def __init__(self, texts: Texts | None) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self._texts = texts
        self._input = b""  # of the call that has begun, while none of it came in pieces

    def begin(self, index: bytes, block: ContentBlock) -> int:
        """A block begins in a stream."""
        new = self.flush()
        for text in written_at_start(block):
            new += self._add(index, text)
        self._input = input_of(block)
        return new

    def go_on(self, index: bytes, delta: Delta) -> int:
        """A block goes on."""
        text, piece = written_in(delta)
        if piece:
            self._input = b""  # it comes in pieces, and a client starts with none
        return self._add(index, text) + self._add(index, piece)

    def flush(self) -> int:
        """The block has ended: the input that stood at its beginning is all of it."""
        text, self._input = self._input, b""
        return self._add(b"input", text)

    def take_whole(self, number: int, block: ContentBlock) -> int:
        """A block of a whole message."""
        index = b"%d" % number
        return sum(self._add(index, text) for text in (*written_at_start(block), input_of(block)))

    def _add(self, index: bytes, text: bytes) -> int:
        if text:
            self.text_bytes += len(text)
            if self._texts is not None:
                self._texts.add(index, text)
        return len(text)
