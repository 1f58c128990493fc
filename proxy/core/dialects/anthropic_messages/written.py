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
    piece_of,
    string,
    tokens_unseen,
    written_at_start,
)
from proxy.core.dialects.texts import Texts


class WrittenBlocks:
    """Takes blocks and deltas one after the other; each says how much is new: bytes, or tokens.

    text_bytes · UTF-8 bytes of the text that a client has assembled
    unread_bytes · of events that could not be read: they count with all their bytes
    unseen_tokens · of hidden thinking, as far as the vendor hints at it while it thinks
    """

    __slots__ = ("_input", "_texts", "text_bytes", "unread_bytes", "unseen_tokens")

    doubtful = False  # nothing of a message comes twice

    def __init__(self, texts: Texts | None) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self.unseen_tokens = 0
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
        name, raw = piece_of(delta)
        unseen = tokens_unseen(delta)
        self.unseen_tokens += unseen
        return self.add_piece(index, string(raw), call=name == b"partial_json") + unseen

    def add_piece(self, index: bytes, text: bytes, *, call: bool) -> int:
        """The next piece of a block's text, or of the input of a `call`."""
        if text and call:
            self._input = b""  # it comes in pieces, and a client starts with none
        return self._add(index, text)

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
