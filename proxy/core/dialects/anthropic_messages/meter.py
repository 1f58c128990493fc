"""The meter of a message: a stream of events with types, or one JSON object."""

from __future__ import annotations

from proxy.core.dialects.answer_meter import AnswerMeter
from proxy.core.dialects.anthropic_messages.alike import AlikeDeltas
from proxy.core.dialects.anthropic_messages.events import (
    ContentBlock,
    MessageEvent,
    blocks_of,
    holds_blocks,
    holds_message,
    is_error,
    kind_of,
    model_of_fallback,
    name_of,
    picture_of,
    read_block,
    read_delta,
    read_event,
    string,
    word,
)
from proxy.core.dialects.anthropic_messages.salvage import salvaged
from proxy.core.dialects.anthropic_messages.stated import Statement, read_statement
from proxy.core.dialects.anthropic_messages.written import WrittenBlocks
from proxy.core.dialects.edges import edge_of
from proxy.core.dialects.repair import objects_of
from proxy.core.dialects.run import Run
from proxy.core.dialects.texts import Texts

_DONE = b"[DONE]"  # of relays: the API itself ends with `message_stop`
_REASON_CHARS_MAX = 64


class MessageMeter(AnswerMeter):
    """Reads `message_start`, blocks and their deltas, `message_delta` and `message_stop`.

    The output that `message_start` states is a placeholder: no text came before it. What
    `message_delta` states is the whole answer's so far, and final once a reason to stop stands in
    one. A stream that ends without its end has failed, whichever side closed it.
    """

    CACHED_INSIDE_INPUT = False

    __slots__ = ("_alike", "_delivered", "_known", "_piece", "_run", "_statement")

    def _begin(self) -> None:
        self._delivered: WrittenBlocks = WrittenBlocks(self.texts)
        self._statement: Statement | None = None
        self._known = False  # an event of this wire was seen
        self._alike: AlikeDeltas | None = None
        self._run: Run | None = None  # of chunks that are alike
        self._piece: MessageEvent | None = None  # of the last chunk: what brought text

    @property
    def output_measure(self) -> int:
        """Output tokens by what was delivered so far, and by hints of what was thought unseen.

        Nothing stands upon the hints once the output is stated.
        """
        return super().output_measure + self._delivered.unseen_tokens

    @property
    def output_so_far(self) -> int:
        """The same as far as a client can have read it; a total that was stated with it wins."""
        so_far = super().output_so_far
        return so_far if self.usage_current else so_far + self._delivered.unseen_tokens

    def room_bytes(self, output_tokens: int) -> int:
        """How much more text may come until `output_measure` exceeds so many tokens."""
        return super().room_bytes(output_tokens - self._delivered.unseen_tokens)

    @property
    def text_known(self) -> bool:
        """Whether all of it has been read; of hidden thinking there is nothing to count."""
        return super().text_known and not self._delivered.unseen_tokens

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
            self._note(self._delivered.add_piece(alike.index, b"".join(pieces), call=alike.call))

    def _feed(self, chunk: bytes) -> None:
        self.take_over()
        begins = self._parser.between
        if begins and self._run is not None and self._run.take(chunk) is not None:
            self.take_over()
            return
        super()._feed(chunk)
        if self.error:  # which its name may tell behind the events that came with it
            self.usage_final = False
        piece, self._piece = self._piece, None
        if piece is not None and begins and self._parser.between and self._body.plain:
            alike = AlikeDeltas.of(chunk, bytes(piece.index), read_delta(piece.delta))
            if alike is not None:
                self._alike = alike
                self._run = alike.run(self._parser.event_bytes_max)

    # Events.

    def _take_event(self, event: bytes) -> None:
        if event.strip() == _DONE:
            self.done |= self._known
            return
        read = read_event(event)
        if read is not None:
            self._take(read, event)
            return
        parts = objects_of(event)
        for part in parts:
            self._take_event(part)
        if not parts:
            self._salvage(event)

    def _take(self, event: MessageEvent, data: bytes) -> None:
        kind = kind_of(event)
        if kind == b"content_block_delta":
            self._piece = event
            self._note(self._delivered.go_on(bytes(event.index), read_delta(event.delta)))
        elif kind == b"content_block_start":
            self._begin_block(event)
        elif kind == b"content_block_stop":
            self._note(self._delivered.flush())
        elif kind == b"message_start":
            self._start(event)
        elif kind == b"message_delta":
            self._take_end(event)
        elif kind == b"message_stop":
            self._take_usage(read_statement(event.usage), whole=True)
            self._take_metrics(event)
            self.done = True
            self.usage_final = self.usage_current and not self.error
        elif kind == b"message":
            self._take_message(event)
        elif kind == b"error" or is_error(event):
            self.error = True
        elif not kind:
            # no event of this wire: it counts with all its bytes, whatever a client makes of it
            self._delivered.unread_bytes += len(data)
            self.unreadable = self._answered = True
        self._known |= bool(kind)

    def _start(self, event: MessageEvent) -> None:
        """The message begins; mostly it is empty. Its output is a placeholder."""
        message = read_event(bytes(event.message)) or MessageEvent()
        self._take_names(message)
        for number, block in enumerate(blocks_of(message.content)):
            self._note(self._delivered.take_whole(number, block))
            self._take_picture(block)
        stated = read_statement(message.usage) or read_statement(event.usage)
        self._take_usage(stated, whole=False)

    def _begin_block(self, event: MessageEvent) -> None:
        block = read_block(event.content_block)
        self._answered = True
        model = model_of_fallback(block)
        if model is not None:
            self.model_served = model
        self._note(self._delivered.begin(bytes(event.index), block))
        self._take_picture(block)

    def _take_picture(self, block: ContentBlock) -> None:
        tokens = picture_of(block)
        self._media_tokens += tokens
        self._note(tokens)

    def _take_end(self, event: MessageEvent) -> None:
        """What the answer comes to so far, and why it ends if it does."""
        delta = read_delta(event.delta)
        self._take_reason(string(delta.stop_reason))
        # Some relays put the usage inside.
        stated = read_statement(event.usage) or read_statement(delta.usage)
        self._take_usage(stated, whole=True)

    def _take_reason(self, reason: bytes) -> None:
        if reason:
            self.finish_reason = reason.decode("utf-8", "replace")[:_REASON_CHARS_MAX]
            self._finished = True
            self._answered = True

    def _take_usage(self, stated: Statement | None, *, whole: bool) -> None:
        """Merges a statement into those before. `whole`: its output is of all that came so far."""
        if stated is None:
            return
        earlier = self._statement
        self._statement = stated if earlier is None else earlier.merged(stated)
        if whole and stated.own.output_tokens == 0 and self._wrote_nothing():
            self._statement = self._statement.without_output()
        self.usage = self._statement.usage(cached_inside_input=self._cached_inside_input)
        if self._statement.own.service_tier is not None:
            self.service_tier = self._statement.own.service_tier
        if whole and stated.own.counts_output_of(self._statement.own):
            self.usage_current = True
            self.usage_final = self._finished and not self.error

    def _wrote_nothing(self) -> bool:
        """Whether the answer ended before it began, as one that the vendor refuses: then a zero is
        its output, and not one that was left unstated."""
        delivered = self._delivered
        seen = delivered.text_bytes + delivered.unread_bytes + delivered.unseen_tokens
        return self._finished and not self.error and seen + self._parser.dropped_bytes == 0

    def _take_metrics(self, event: MessageEvent) -> None:
        """Bedrock states the whole answer once more in its last event. Where all was stated before
        that says nothing new."""
        own = None if self._statement is None else self._statement.own
        if not self.usage_current or own is None or not (own.input_tokens and own.output_tokens):
            self._take_usage(read_statement(event.metrics), whole=True)

    def _take_names(self, message: MessageEvent) -> None:
        if self.model_served is None:
            self.model_served = name_of(message.model)
        if self.response_id is None:
            self.response_id = name_of(message.id)

    def _salvage(self, data: bytes) -> None:
        """An event that is damaged beyond repair: what is whole in it counts, above all its
        usage."""
        self.unreadable = self._answered = True
        self._note(len(data))
        self._delivered.unread_bytes += len(data)
        found = salvaged(data)
        self._take_reason(word(found.stop_reason))
        self._take_usage(read_statement(found.usage), whole=self._finished)

    def _finish(self) -> None:
        self._note(self._delivered.flush())
        if self._known and not (self._finished or self.done):
            self.error = True
        if self._body.prose and not self._known:
            self.unreadable = True
        if self.error:
            self.usage_final = False

    # JSON answers.

    def _take_answer(self, body: bytes) -> None:
        read = read_event(body)
        if read is not None:
            self._take_whole(read)
            return
        parts = objects_of(body)
        for part in parts:
            self._take_event(part)
        self._delivered.flush()
        self._read = bool(parts)
        if not parts:
            self.unreadable = True
            self._answered = holds_message(body) or (None if body.startswith(b"{") else False)
            found = salvaged(body)
            self._take_names(found)
            self._take_usage(read_statement(found.usage), whole=True)

    def _take_whole(self, answer: MessageEvent) -> None:
        self._read = True
        if is_error(answer):
            self.error = True
            self._take_usage(read_statement(answer.usage), whole=True)
        elif kind_of(answer) == b"message" or holds_blocks(answer):
            if self.texts is not None:
                self.texts = Texts(None)  # it is all here already
                self._delivered = WrittenBlocks(self.texts)
            self._take_message(answer)

    def _take_message(self, message: MessageEvent) -> None:
        """A message that is whole."""
        self._known = True
        self._take_names(message)
        for number, block in enumerate(blocks_of(message.content)):
            self._answered = True
            self._delivered.take_whole(number, block)
            self._take_picture(block)
            self.model_served = model_of_fallback(block) or self.model_served
        self._take_reason(string(message.stop_reason))
        self._finished = True
        stated = read_statement(message.usage) or read_statement(message.metrics)
        self._take_usage(stated, whole=True)

    def _take_ends(self, head: bytes, tail: bytes) -> None:
        """Usage from an answer too large to read whole."""
        found = edge_of(head, tail, read_event, read_event)
        if found is None:
            self.unreadable = True
            return
        self._take_names(found)
        self._finished = True
        self._take_usage(read_statement(found.usage), whole=True)
