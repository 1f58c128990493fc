"""The meter of a JSON answer that came in one piece and states all that it used.

Nearly every answer that is no stream is one. Nothing is fed to it and it has no state: a wire reads
it in one decode, or leaves it to its own meter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

import msgspec

from proxy.core.dialects.batch import VendorsBatch
from proxy.core.dialects.run import Run
from proxy.core.dialects.texts import Texts
from proxy.core.usage import Usage


class WholeAnswer(msgspec.Struct, frozen=True, gc=False):
    """What `Meter` (contract.py) names, of such an answer.

    Both counts of `usage` are stated and above zero, and nothing says that they miss anything.
    """

    usage: Usage
    text_bytes: int  # of UTF-8 that were written
    output_measure: int
    finish_reason: str
    model_served: str | None = None
    response_id: str | None = None
    service_tier: str | None = None

    usage_current: ClassVar[bool] = True
    usage_final: ClassVar[bool] = True
    answered: ClassVar[bool | None] = True
    shows_its_end: ClassVar[bool] = True
    text_known: ClassVar[bool] = True
    texts: ClassVar[Texts | None] = None
    # An event stream would have these.
    run: ClassVar[Run | None] = None
    done: ClassVar[bool] = False
    complete: ClassVar[bool] = False
    between_events: ClassVar[bool] = False
    next_number: ClassVar[int] = 0
    item_ids: ClassVar[Collection[str]] = ()
    batch: ClassVar[VendorsBatch | None] = None
    # It would not be read here if one of them were so.
    error: ClassVar[bool] = False
    doubtful: ClassVar[bool] = False
    unreadable: ClassVar[bool] = False
    oversized: ClassVar[bool] = False
    goes_on: ClassVar[bool] = False

    @property
    def output_so_far(self) -> int:
        """Output tokens that a client can have read, by the best that is known."""
        output_tokens = self.usage.output_tokens
        assert output_tokens is not None, "it is stated"
        return output_tokens

    def feed(self, chunk: bytes) -> None:
        """Raise: it was whole when it was read."""
        raise AssertionError("a whole answer has no further chunk")

    def take_over(self) -> None:
        """Nothing was set aside."""

    def room_bytes(self, output_tokens: int) -> int:
        """No more text comes."""
        del output_tokens
        return 0

    def end(self) -> None:
        """It is over since it was read."""

    def whole_events(self, chunk: bytes) -> bytes:
        """No event ends in JSON."""
        return b""


# Of a body, whether this vendor's count of the prompt holds the cached tokens, output tokens per
# byte of text as (tokens, bytes), and the most bytes that are read. None: the wire's meter has to
# read it.
ReadWhole = Callable[[bytes, bool, tuple[int, int], int], WholeAnswer | None]


def utf8_bytes(text: str | None) -> int:
    """How long a text is as UTF-8; 0 where there is none."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())
