"""The meter of a response: a stream of events with types, or one JSON object."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from proxy.core.dialects.answer_meter import AnswerMeter
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.lists import TooMuch
from proxy.core.dialects.openai_responses import items
from proxy.core.dialects.openai_responses.alike import AlikePieces
from proxy.core.dialects.openai_responses.delivered import DeliveredParts, Place
from proxy.core.dialects.openai_responses.endpoints import known_as
from proxy.core.dialects.openai_responses.events import (
    ENDS,
    ERRORS,
    ITEMS,
    NEW,
    PARTS,
    UNKNOWN,
    WHOLE,
    Pieces,
    ResponseEvent,
    brings_text,
    event_decoder,
    index_of,
    type_of,
)
from proxy.core.dialects.openai_responses.item_ids import ItemIds
from proxy.core.dialects.openai_responses.media import DeliveredMedia
from proxy.core.dialects.openai_responses.response import (
    WAITING,
    Response,
    is_failure,
    is_of_another_api,
    read_response,
    stated_in,
    text,
    word,
)
from proxy.core.dialects.openai_responses.salvage import response_in, salvaged
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, objects_of, repaired
from proxy.core.dialects.run import Run
from proxy.core.dialects.stated import Stated
from proxy.core.dialects.texts import Texts
from proxy.core.http.sse import LargeEnd

_DONE: Final = b"[DONE]"  # of relays; the API itself ends with an event that holds the response
_TIER_ASKED: Final = "auto"  # what was asked for: the last event says what served
_WORD_CHARS_MAX: Final = 64
_ITEM_IDS_MAX: Final = 4096
_PIECE_BYTES_MAX: Final = 64 * 1024


class ResponseMeter(AnswerMeter):
    """Reads deltas, items and the event that ends a stream. Usage stands there, or it failed."""

    EVENTS_AS_LONG_AS_ANSWERS = True
    LARGE_END_BYTES = _PIECE_BYTES_MAX

    __slots__ = (
        "_alike",
        "_delivered",
        "_events",
        "_item_ids",
        "_last_item",
        "_last_number",
        "_media",
        "_numbers",
        "_piece_at",
        "_run",
        "_stated",
    )

    def _begin(self) -> None:
        self._delivered: DeliveredParts = DeliveredParts(self.texts)
        self._stated: Stated | None = None
        self._events = 0  # of this API
        self._numbers: dict[bytes, int] = {}  # of items, by their ids
        self._item_ids = ItemIds()
        self._media = DeliveredMedia()
        self._alike: AlikePieces | None = None
        self._run: Run | None = None  # of chunks that are alike
        self._piece_at: Place | None = None  # of the last chunk's piece of text
        self._last_item = 0
        self._last_number = msgspec.Raw()  # as the last event has it

    @property
    def item_ids(self) -> Collection[str]:
        return self._item_ids.ids

    @property
    def goes_on(self) -> bool:
        """Whether it was asked for in the background, and is not written yet."""
        return self.usage is None and self.finish_reason in WAITING

    @property
    def next_number(self) -> int:
        """The number that the next event would have."""
        self.take_over()
        number = index_of(self._last_number)
        return 0 if number is None else number + 1

    @property
    def complete(self) -> bool:
        """Whether the event that ends the stream has come, however its connection ends."""
        return self.done and self._body.json is False

    @property
    def output_measure(self) -> int:
        """Output tokens by what was delivered so far, of what is not read what may be new text.

        No piece of a text is as long as a picture is, or as the response at the end, which repeats
        what came; so is what was too large to be read, where its text came before.
        """
        delivered, body = self._delivered, self._body
        size = delivered.text_bytes + delivered.unread_bytes
        if not delivered.text_bytes:
            size += self._parser.dropped_bytes
        pending = body.pending_bytes
        if body.json is False:
            pending = min(pending, _PIECE_BYTES_MAX)
        if pending and not self._read and (self._answered or self.answered is not False):
            size += pending
        return self._tokens(size)

    @property
    def run(self) -> Run | None:
        """What takes the next chunk if it is like the last.

        None while an event is not whole, or where text would take back what was stated.
        """
        return self._run if self._parser.between and not self.usage_current else None

    def take_over(self) -> None:
        """Counts what the run has taken."""
        run, alike = self._run, self._alike
        pieces = None if run is None else run.take_over()
        if pieces and alike is not None:
            self._last_number = msgspec.Raw(alike.number)
            self._note(self._delivered.add(alike.place, *pieces))

    def _feed(self, chunk: bytes) -> None:
        self.take_over()
        body, parser = self._body, self._parser
        begins = parser.between
        if begins and self._run is not None and self._run.take(chunk) is not None:
            self.take_over()
            return
        self._piece_at = None
        for piece in body.pieces(chunk):
            for event in body.events(piece):
                self._take_event(event)
        if begins and body.plain and parser.between:
            self._learn_alike(chunk)
        self.error |= parser.errors > 0
        self.unreadable |= body.blind

    def _learn_alike(self, chunk: bytes) -> None:
        if self._piece_at is not None:
            self._alike = alike = AlikePieces.of(chunk, self._piece_at)
            self._run = None if alike is None else alike.run(self._parser.event_bytes_max)

    def _take_end_of_large(self, end: bytes) -> None:
        """What the end of such an event states: pictures make the last event so large, and the
        usage stands behind them."""
        usage = response_in(end).usage
        if usage:
            self._take_envelope(Response(usage=usage), ends=True)

    def _finish(self) -> None:
        if self._events and not self.done:
            self.error = True  # it broke off, even where its connection ended in order

    # Events.

    def _take_event(self, data: bytes) -> None:
        if type(data) is LargeEnd:
            self._take_end_of_large(data)
            return
        try:
            event = event_decoder.decode(data)
        except JSON_ERRORS:
            self._take_damaged(data)
            return
        self._last_number = event.sequence_number
        name = type_of(event)
        pieces = NEW.get(name)
        try:
            if pieces is not None and bytes(memoryview(event.delta)[:1]) == b'"':
                place = self._piece_at = self._place(event, pieces)
                self._note(self._delivered.add(place, items.string(event.delta)))
                self._events += 1
            else:
                self._take(name, event, data)
        except (TooMuch, *JSON_ERRORS):
            self._leave_unread(data)

    def _take(self, name: bytes, event: ResponseEvent, data: bytes) -> None:
        """Any event but the next piece of a text that is known."""
        if name in ERRORS:
            self.error = True
        elif name in WHOLE:
            pieces = WHOLE[name]
            text = items.text_or_json(getattr(event, pieces.whole))
            self._note(self._delivered.whole(self._place(event, pieces), text))
        elif name in PARTS:
            pieces = PARTS[name]
            number, kind, part = self._place(event, pieces)
            if kind == items.TEXT and self._delivered.is_reasoning(number, part):
                kind = items.REASONING  # vLLM calls each part of a content the text of the output
            self._take_wholes(number, items.written_in_part(event.part, kind, part))
        elif name in ITEMS:
            item = items.read_item(event.item)
            self._item_ids.learn(item)
            number = self._number(event, item.id)
            self._take_wholes(number, items.written(item))
            self._take_media(self._media.item(number, item))
        elif DeliveredMedia.brings(name):
            number = self._number(event, event.item_id)
            self._take_media(self._media.piece(name, number, event.delta))
        elif bytes(memoryview(event.response)[:1]) == b"{":
            self._take_response(bytes(event.response), ends=name in ENDS)
            self._take_usage(event.usage, event.tool_usage, final=name in ENDS)
        elif name in ENDS:
            self._take_response(data, ends=True)  # LiteLLM has put its members into the event
        elif brings_text(name):
            self._note(self._delivered.add(self._place(event, UNKNOWN), items.string(event.delta)))
        elif not name.startswith(b'"'):
            self._take_without_type(event, data)
            return
        self._events += 1

    def _take_without_type(self, event: ResponseEvent, data: bytes) -> None:
        """An object without a type: an error, a response alone, or what is none of this API."""
        response = read_response(data)
        if is_failure(event.error):
            self.error = True
        elif response is not None and response.is_one:
            self._take_response(data, ends=True)
            self._events += 1
        elif len(data) > len(b"{}"):
            self._leave_unread(data)

    def _take_damaged(self, data: bytes) -> None:
        if data.strip() == _DONE:
            return
        if len(data) <= REPAIRED_BYTES_MAX:
            mended = repaired(data)
            try:
                event_decoder.decode(mended)
            except JSON_ERRORS:
                pass
            else:
                self._take_event(mended)
                return
            parts = objects_of(data)
            for part in parts:
                self._take_event(part)
            if parts:
                return
        self._salvage(data)

    def _salvage(self, data: bytes) -> None:
        """What is whole in an event that is damaged beyond repair: above all its usage."""
        self.unreadable = True
        self._events += 1
        saved = salvaged(data)
        if saved.response is None:
            self._leave_unread(saved.text)
        else:
            self._take_envelope(saved.response, ends=saved.ends)

    def _leave_unread(self, data: bytes) -> None:
        self.unreadable = True
        self._delivered.unread_bytes += len(data)
        self._note(len(data))

    def _take_wholes(self, number: int, found: list[items.Written]) -> None:
        for one in found:
            self._note(self._delivered.whole((number, one.kind, one.part), one.text))

    def _place(self, event: ResponseEvent, pieces: Pieces) -> Place:
        part = index_of(getattr(event, pieces.number))
        return self._number(event, event.item_id), pieces.kind, 0 if part is None else part

    def _number(self, event: ResponseEvent, item_id: msgspec.Raw) -> int:
        """The number of the item that an event is of; some servers leave out one or the other."""
        number, id = index_of(event.output_index), bytes(item_id)
        if number is None:
            number = self._numbers.get(id, self._last_item)
        elif id not in self._numbers and len(self._numbers) < _ITEM_IDS_MAX:
            self._numbers[id] = number
        if number != self._last_item:  # pieces without a number are of this item from now on
            self._last_item, self._alike, self._run = number, None, None
        return number

    # The response, as the last event or as a whole answer.

    def _take_response(self, raw: bytes, *, ends: bool) -> None:
        response = read_response(raw)
        if response is None:
            self._leave_unread(raw)
        else:
            self._take_items(response)
            self._take_envelope(response, ends=ends)

    def _take_items(self, response: Response) -> None:
        """All texts of a response, of which most came before."""
        entries = items.ITEMS.decode(bytes(response.output))
        self._item_ids.learn(*entries)
        found = [items.written(item) for item in entries]
        text = items.string(response.output_text)
        if not any(found) and text:
            found = [[items.Written(items.TEXT, 0, text)]]
        self._note(self._delivered.all_of(found))
        self._take_media(self._media.all_of(entries))

    def _take_media(self, tokens: int) -> None:
        self._media_tokens += tokens
        self._note(tokens)

    def _take_envelope(self, response: Response, *, ends: bool) -> None:
        """All that a response says beside its items."""
        if self.response_id is None and (id := text(response.id)) is not None:
            self.response_id = known_as(id)
        self.model_served = word(response.model) or self.model_served
        tier, status = word(response.service_tier), word(response.status)
        if tier is not None and tier != _TIER_ASKED:
            self.service_tier = tier[:_WORD_CHARS_MAX]
        self.error |= is_failure(response.error) or status == "failed"
        if ends:
            self.done = self._finished = True
            reason = response.reason or status
            self.finish_reason = None if reason is None else reason[:_WORD_CHARS_MAX]
            if not self.error:
                self._answered = True
        self._take_usage(response.usage, response.tool_usage, final=ends)

    def _take_usage(self, usage: msgspec.Raw, tools: msgspec.Raw, *, final: bool) -> None:
        stated = stated_in(usage, tools)
        if stated is None:
            return
        self._stated = stated if self._stated is None else self._stated.merged(stated)
        self.usage = self._stated.usage(cached_inside_input=self._cached_inside_input)
        self.usage_current = True
        self.usage_final = final

    # JSON answers.

    def _take_answer(self, body: bytes) -> None:
        response = read_response(body)
        if response is None and len(body) <= REPAIRED_BYTES_MAX:
            body = repaired(body)
            response = read_response(body)
        if response is None:
            self._take_broken_answer(body)
        elif not response.is_one:
            self.error |= is_failure(response.error) or word(response.type) == "error"
            # An answer in another API's form counts with its bytes; an error or a page is none.
            self._answered = is_of_another_api(body) and not self.error
            self.unreadable |= self._answered
        else:
            self._take_whole(response)

    def _take_whole(self, response: Response) -> None:
        """A response that is all of the answer."""
        self.texts = Texts(None)  # it is all here already
        self._delivered = DeliveredParts(self.texts)
        try:
            self._take_items(response)
            self._read = True
        except (TooMuch, *JSON_ERRORS):
            self.unreadable = self._answered = True
        self._take_envelope(response, ends=True)

    def _take_broken_answer(self, body: bytes) -> None:
        """Several objects in a row are events, in whatever framing. Of anything else that begins
        like JSON, what is whole counts."""
        parts = objects_of(body)
        if parts:
            self._read = True
            for part in parts:
                self._take_event(part)
            self._finish()
            return
        self.unreadable = True
        saved = salvaged(body) if body.startswith(b"{") else None
        if saved is None or saved.response is None:
            self._answered = False if saved is None else None
            return
        self._answered = True
        self._take_envelope(saved.response, ends=True)

    def _take_ends(self, head: bytes, tail: bytes) -> None:
        self.unreadable = True
        self._take_envelope(response_in(head + b" " + tail), ends=True)
