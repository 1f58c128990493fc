"""What an answer of this wire states, and what text it brings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from proxy.core.dialects.answer_meter import AnswerMeter
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.texts import Texts
from proxy.core.usage import Usage

Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Cost(msgspec.Struct):
    """What was used."""

    read: Tokens | None = None
    wrote: Tokens | None = None


class Said(msgspec.Struct):
    """An answer, or one event of a stream."""

    by: str | None = None
    said: str = ""
    bit: str = ""
    over: str | None = None
    cost: Cost | None = None
    error: str | None = None


_decoder = msgspec.json.Decoder(Said)


class Delivered:
    """The text that came."""

    doubtful = False

    def __init__(self, texts: Texts | None) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self._texts = texts

    def add(self, text: str) -> None:
        piece = text.encode("utf-8", "surrogatepass")
        self.text_bytes += len(piece)
        if self._texts is not None:
            self._texts.add(None, piece)


class ToyMeter(AnswerMeter):
    """The frame, the content coding and the bounds are `AnswerMeter`'s; the members are ours."""

    __slots__ = ("_delivered",)

    def _begin(self) -> None:
        self._delivered: Delivered = Delivered(self.texts)

    def _take_event(self, event: bytes) -> None:
        self._take(event)

    def _take_answer(self, body: bytes) -> None:
        self.texts = Texts(None)  # all of it is here, so all of it can be counted
        self._delivered = Delivered(self.texts)
        self._read = self._take(body)
        if not self._read:
            self._delivered.unread_bytes = 0  # they are those of the body

    def _take_ends(self, head: bytes, tail: bytes) -> None:
        self.unreadable = True

    def _finish(self) -> None:
        """A stream needs nothing more."""

    def _take(self, data: bytes) -> bool:
        """One object; False if it cannot be read, so that it counts with its bytes."""
        try:
            said = _decoder.decode(data)
        except JSON_ERRORS:
            self.unreadable = True
            self._delivered.unread_bytes += len(data)
            return False
        self.error |= said.error is not None
        self.model_served = said.by or self.model_served
        text = said.said + said.bit
        if text:
            self._answered = True
            self.usage_current = self.usage_final = False
            self._delivered.add(text)
        if said.over is not None:
            self.finish_reason = said.over
            self.done = True
        if said.cost is not None:
            self.usage = Usage(input_tokens=said.cost.read, output_tokens=said.cost.wrote)
            self.usage_current = self.usage_final = True
        return True
