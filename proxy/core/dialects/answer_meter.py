"""What the meters of all wires share: what was delivered, what is read, whether it is over.

A wire's meter says what one event and one JSON answer hold. It never raises, whatever comes, and
never decides about money: `settlement.py` does, from what stands in these attributes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar, Final, Protocol

from proxy.core.dialects.answer_body import BOM, AnswerBody
from proxy.core.dialects.batch import VendorsBatch
from proxy.core.dialects.contract import ANSWER_BYTES_MAX, EVENT_BYTES_MAX, MEASURE_UNCALIBRATED
from proxy.core.dialects.run import Run
from proxy.core.dialects.texts import Texts
from proxy.core.usage import Usage

_ROOM_WITHOUT_END: Final = 2**62
_END: Final = b"\n\n"  # of an event
_ONE_EVENT_BYTES: Final = 1024  # in more there are several, mostly
_EVENT_BYTES_MIN: Final = 32


class DeliveredText(Protocol):
    """The text that a client has got.

    text_bytes · UTF-8 bytes of what it has assembled
    unread_bytes · bytes that could not be read; all of them count
    """

    text_bytes: int
    unread_bytes: int

    @property
    def doubtful(self) -> bool:
        """Whether some of it came twice, and may have been written twice."""


class AnswerMeter(ABC):
    """Feed it every chunk of an answer's body, then call `end` once, however the answer ended.

    The attributes are those of the contract's `Meter`. A wire makes its `_delivered` in `_begin`
    and says what `_take_event`, `_take_answer` and `_take_ends` read.
    """

    __slots__ = (
        "_answered",
        "_body",
        "_cached_inside_input",
        "_delivered",
        "_ended",
        "_finished",
        "_measure_bytes",
        "_measure_tokens",
        "_media_tokens",
        "_parser",
        "_read",
        "done",
        "error",
        "finish_reason",
        "model_served",
        "response_id",
        "service_tier",
        "texts",
        "unreadable",
        "usage",
        "usage_current",
        "usage_final",
    )

    CACHED_INSIDE_INPUT: ClassVar[bool] = True  # unless it is said with the upstream
    EVENTS_AS_LONG_AS_ANSWERS: ClassVar[bool] = False  # the last event holds the whole answer
    LARGE_END_BYTES: ClassVar[int] = 0  # that are read of an event too large to be kept

    _delivered: DeliveredText

    def __init__(
        self,
        *,
        stream: bool,
        status: int = 200,
        content_type: str | None = None,
        content_encoding: str | None = None,
        event_bytes_max: int = EVENT_BYTES_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        cached_inside_input: bool | None = None,
        measure: tuple[int, int] = MEASURE_UNCALIBRATED,
        text_bytes_max: int | None = 0,
    ) -> None:
        self.usage: Usage | None = None
        self.usage_current = False
        self.usage_final = False
        self._answered: bool | None = None  # None: that cannot be told yet
        self.done = False
        self.error = False
        self.finish_reason: str | None = None
        self.model_served: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self._body = AnswerBody(
            stream=stream,
            content_type=content_type,
            content_encoding=content_encoding,
            status=status,
            event_bytes_max=max(event_bytes_max, answer_bytes_max)
            if self.EVENTS_AS_LONG_AS_ANSWERS
            else event_bytes_max,
            answer_bytes_max=answer_bytes_max,
            end_bytes_max=self.LARGE_END_BYTES,
        )
        self.unreadable = self._body.blind
        self._parser = self._body.parser
        self._measure_tokens, self._measure_bytes = measure
        self.texts = None if text_bytes_max == 0 else Texts(text_bytes_max)
        self._media_tokens = 0  # of sounds and pictures
        self._finished = False  # it has said why it ends
        # whether this vendor's count of its prompt holds the cached tokens
        self._cached_inside_input = (
            self.CACHED_INSIDE_INPUT if cached_inside_input is None else cached_inside_input
        )
        self._read = False  # a JSON answer was read to its end
        self._ended = False
        self._begin()

    # What each wire has of its own.

    @abstractmethod
    def _begin(self) -> None:
        """Sets what this wire has beside the attributes above: its `_delivered` at least."""

    @abstractmethod
    def _take_event(self, event: bytes) -> None:
        """The data of one event."""

    @abstractmethod
    def _take_answer(self, body: bytes) -> None:
        """A whole JSON answer."""

    @abstractmethod
    def _take_ends(self, head: bytes, tail: bytes) -> None:
        """Both ends of a JSON answer that is too large to be kept."""

    @abstractmethod
    def _finish(self) -> None:
        """The events are over."""

    def _note(self, new_bytes: int) -> None:
        """So much was delivered: what was stated before cannot have counted it."""
        if new_bytes > 0:
            self._answered = True
            self.usage_current = self.usage_final = False

    # What is known at each moment.

    @property
    def answered(self) -> bool | None:
        """Whether it holds an answer, or what cannot be read.

        False: what came is an error, a page or no answer. None: nothing came that tells.
        """
        body = self._body
        if self._answered or body.oversized or (body.blind and body.begun):
            return True
        return False if self.error or body.prose else self._answered

    @property
    def output_measure(self) -> int:
        """Output tokens by what was delivered so far.

        UTF-8 bytes of text x `measure`, rounded up; sounds and pictures by their own rule.

        What is not read (yet) counts with all its bytes: a JSON answer before its end, an event
        before its end, an event too large to be read at all. A page or a text is no answer.
        """
        delivered = self._delivered
        size = delivered.text_bytes + delivered.unread_bytes + self._parser.dropped_bytes
        pending = self._body.pending_bytes
        if pending and not self._read and (self._answered or self.answered is not False):
            size += pending
        return self._tokens(size)

    @property
    def output_so_far(self) -> int:
        """Output tokens that a client can have read, by the best that is known.

        That is the total that was stated with the last text, else that text.

        No client has an event or a JSON answer before its end, and most of a large one is no text:
        cited pages, a picture.
        """
        if self._body.oversized or self._body.blind:
            return self.output_measure
        if self.usage_current and self.usage is not None and self.usage.output_tokens:
            return self.usage.output_tokens
        return self._tokens(self._delivered.text_bytes + self._delivered.unread_bytes)

    def _tokens(self, size: int) -> int:
        return self._media_tokens - (-size * self._measure_tokens // self._measure_bytes)

    def room_bytes(self, output_tokens: int) -> int:
        """How much more text may come until `output_measure` exceeds so many tokens."""
        if self._measure_tokens == 0:
            return _ROOM_WITHOUT_END
        delivered = self._delivered
        size = delivered.text_bytes + delivered.unread_bytes + self._parser.dropped_bytes
        left = output_tokens - self._media_tokens
        return left * self._measure_bytes // self._measure_tokens - size

    @property
    def text_known(self) -> bool:
        """Whether all delivered text has been read, so that counting it counts everything."""
        body = self._body
        return not (
            self.unreadable
            or self._media_tokens
            or body.oversized
            or self._parser.pending_bytes
            or (body.size_bytes and not self._read)
        )

    @property
    def text_bytes(self) -> int:
        return self._delivered.text_bytes

    @property
    def doubtful(self) -> bool:
        return self._delivered.doubtful

    @property
    def complete(self) -> bool:
        """Whether all of the stream has come, however its connection ends.

        It has with its last event, or with the reason of its end and the final usage.
        """
        return self.done or (
            self._body.json is False and self._finished and self.usage_final and not self.error
        )

    @property
    def between_events(self) -> bool:
        """Whether all events that came are whole, so that another one may be put behind them."""
        return self._body.between_events

    def whole_events(self, chunk: bytes) -> bytes:
        """The part of the chunk fed last that ends with a whole event.

        Empty if no event ends in it, as none does in JSON.
        """
        return self._body.whole_events(chunk)

    @property
    def shows_its_end(self) -> bool:
        """Whether the answer itself says that it is whole. Known after `end`.

        Its last event says so, the reason of its end, or JSON that is closed.
        """
        return self.done or self._read or (self.finish_reason is not None and not self._body.json)

    @property
    def oversized(self) -> bool:
        return self._body.oversized

    @property
    def batch(self) -> VendorsBatch | None:
        """The batch that it tells of: none here."""
        return None

    @property
    def item_ids(self) -> Collection[str]:
        """Ids of what is in the answer, by which later requests can name it."""
        return ()

    @property
    def goes_on(self) -> bool:
        """Whether the vendor goes on behind the answer, so that its use is known later."""
        return False

    @property
    def next_number(self) -> int:
        """The number that the next event would have, where the API numbers them."""
        return 0

    # Bytes.

    @property
    def run(self) -> Run | None:
        """What takes the next chunk if it is like the last, instead of `feed`; None: `feed` it."""
        return None

    def take_over(self) -> None:  # noqa: B027  a wire without runs has nothing to take over
        """Counts what the run has taken: until then, it stands in no figure here."""

    def feed(self, chunk: bytes) -> None:
        """One chunk as it came from the upstream, content coding included."""
        body = self._body
        if body.plain and not body.json and len(chunk) > _ONE_EVENT_BYTES:
            for piece in _by_events(chunk):
                self._feed(piece)
        else:
            self._feed(chunk)

    def _feed(self, chunk: bytes) -> None:
        """The same of a chunk that is mostly one event."""
        body = self._body
        for piece in body.pieces(chunk):
            for event in body.events(piece):
                self._take_event(event)
        self.error |= self._parser.errors > 0
        self.unreadable |= body.blind

    def end(self) -> None:
        """The answer is over, cleanly or not: read what has waited for its end.

        Called again, it does nothing.
        """
        if self._ended:
            return
        self._ended = True
        self.take_over()
        body = self._body
        for event in body.end():
            self._take_event(event)
        self.error |= self._parser.errors > 0
        if not body.json:
            self._finish()
        elif body.kept.cut:
            self._take_ends(*body.kept.ends())
        else:
            self._take_answer(body.kept.whole().removeprefix(BOM))


def _by_events(chunk: bytes) -> list[bytes]:
    """This chunk, cut behind each event, so that those that are alike can be told.

    In one piece if it is cut too often: most of it is then no event.
    """
    pieces = chunk.split(_END)
    if len(pieces) * _EVENT_BYTES_MIN > len(chunk):
        return [chunk]
    last = pieces.pop()
    pieces = [piece + _END for piece in pieces]
    return [*pieces, last] if last else pieces
