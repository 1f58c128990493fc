"""Events that are like the last one but for their text: nearly all of a stream.

Such an event is compared and not parsed. What stands around its text was parsed once, and means the
same each time.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.core.dialects.anthropic_messages.events import Delta, hints_of_unseen, piece_of
from proxy.core.dialects.json_text import unescaped
from proxy.core.dialects.run import Run

_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*+')  # of a string as it stands: it ends at none of it
_LINE: Final = re.compile(rb"[^\x00-\x1f]*+")
_END: Final = b"\n\n"


class AlikeDeltas:
    """One chunk that was one event with a piece of text, as what stands before and behind it.

    `index`: the block's. `call`: the text is the input of a call.
    """

    __slots__ = ("_around_bytes", "_before", "_behind", "_behind_bytes", "call", "index")

    def __init__(self, before: bytes, behind: bytes, index: bytes, *, call: bool) -> None:
        self._before = before
        self._behind = behind
        self._behind_bytes = len(behind)
        self._around_bytes = len(before) + len(behind)
        self.index = index
        self.call = call

    @classmethod
    def of(cls, chunk: bytes, index: bytes, delta: Delta) -> AlikeDeltas | None:
        """The shape of a chunk that is one event, whose delta was read.

        None where it cannot be told where the text stands, or where more than the text counts: what
        a vendor hints of hidden thinking.
        """
        name, raw = piece_of(delta)
        value = bytes(raw)
        quoted = b'"%b"' % name
        if (
            not name
            or hints_of_unseen(delta)
            or value[:1] != b'"'
            or b"\\" in chunk
            or chunk.count(quoted) != 1
        ):
            return None
        if chunk.count(_END) != 1 or not chunk.endswith(_END):
            return None
        begins = chunk.find(value, chunk.find(quoted) + len(quoted))
        if begins < 0 or chunk[chunk.find(quoted) + len(quoted) : begins].strip() != b":":
            return None
        before, behind = chunk[: begins + 1], chunk[begins + len(value) - 1 :]
        return cls(before, behind, index, call=name == b"partial_json")

    def read(self, chunk: bytes) -> bytes | None:
        """The piece of text in a chunk of this shape; None if it is not."""
        if len(chunk) < self._around_bytes or not chunk.startswith(self._before):
            return None
        if not chunk.endswith(self._behind):
            return None
        text = chunk[self._around_bytes - self._behind_bytes : -self._behind_bytes]
        if _PLAIN.fullmatch(text):
            return text
        return unescaped(text) if b"\\" in text and _LINE.fullmatch(text) else None

    def run(self, chunk_bytes_max: int) -> Run:
        """Takes such chunks, of at most so many bytes, before they come here."""
        run = Run(self._before, self._behind, self.read)
        run.allow(chunk_bytes_max, chunk_bytes_max)
        return run
