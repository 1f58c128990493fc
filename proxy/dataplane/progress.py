"""How far an exchange has come: what was said, what was passed on, what the journal covers."""

from __future__ import annotations

import logging
from time import monotonic

from proxy.core.dialects.contract import Dialect, Meter
from proxy.core.dialects.whole_answer import WholeAnswer
from proxy.core.entries import Marked
from proxy.core.errors import ProxyError
from proxy.core.http.response_head import AnswerHead
from proxy.core.records.ending import Ending, How, OwnCount
from proxy.core.usage import FILTERED, Usage
from proxy.dataplane.admission import Admitted
from proxy.dataplane.services import journal_unavailable
from proxy.journal import Journal, JournalUnavailable

LOG = logging.getLogger("tollkeeper.relay")

# one journal write for so many tokens delivered; also the most a crash can overcharge beyond one
# chunk
MARK_STEP_TOKENS = 512


class Progress:
    """Counts on the event loop, once a chunk. `meter` reads the copy; before a response head there
    is none. Times are monotonic seconds."""

    # A name that is set later than others would give each stream a dict of its own.
    __slots__ = (
        "_admitted",
        "_head",
        "_marked_final",
        "_marked_tokens",
        "_marked_usage",
        "bytes_out",
        "chunks",
        "counted",
        "first_byte_s",
        "meter",
        "named",
        "output_held",
        "request_id",
        "started_s",
        "status",
        "whole",
    )

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.status: int | None = None  # the upstream's
        self.request_id: str | None = None  # the upstream's own name for the request
        self.named = False  # the answer's id is the better name: later requests name it
        self.meter: Meter | None = None
        self.whole = False  # all that it used was read at once, and nothing is to be counted
        self.counted: OwnCount | None = None
        self.output_held = 0  # tokens charged at least
        self.first_byte_s: float | None = None
        self.bytes_out = 0
        self.chunks = 0
        self._admitted: Admitted | None = None  # between a head and the meter for what follows it
        self._head: AnswerHead | None = None
        self._marked_tokens = 0
        self._marked_usage: Usage | None = None
        self._marked_final = False

    def begin(self, admitted: Admitted, head: AnswerHead) -> None:
        """An answer begins. Its meter is opened with its first chunk, or at its end."""
        self._admitted, self._head = admitted, head

    def _read_whole(self, answer: bytes) -> Meter | None:
        """Reads an answer that came in one chunk, if it is a usual one.

        It takes a quarter of the time of a meter: nothing is kept, and nothing is looked at twice.
        """
        admitted, head = self._admitted, self._head
        assert admitted is not None and head is not None
        read = admitted.dialect.read_whole
        if (
            read is None
            or admitted.counting.text_bytes_max != 0  # its text is to be counted
            or head.headers.text(b"content-encoding") is not None
        ):
            return None
        return read(
            answer,
            admitted.upstream.cached_inside_input(admitted.dialect),
            admitted.counting.measure,
            admitted.snapshot.settings.bodies.answer_max_bytes,
        )

    def _open_meter(self) -> Meter:
        admitted, head = self._admitted, self._head
        assert admitted is not None and head is not None
        self._admitted = self._head = None  # the meter knows all that is still needed
        bodies = admitted.snapshot.settings.bodies
        return admitted.dialect.open_meter(
            stream=admitted.opened.stream,
            status=head.code,
            event_bytes_max=bodies.event_max_bytes,
            answer_bytes_max=bodies.answer_max_bytes,
            content_type=head.headers.text(b"content-type"),
            content_encoding=head.headers.text(b"content-encoding"),
            cached_inside_input=admitted.upstream.cached_inside_input(admitted.dialect),
            measure=admitted.counting.measure,
            text_bytes_max=admitted.counting.text_bytes_max,
        )

    def head_came(self, head: AnswerHead, dialect: Dialect) -> None:
        """The upstream has answered."""
        self.status = head.code
        self.request_id = head.headers.text(dialect.request_id_field)
        self.named = dialect.names_its_answers

    def declined(self, status: int) -> None:
        """The upstream refuses the question for usage. It has answered no more than that so far,
        and bills nothing for it."""
        self.status = status

    def count(self, own: OwnCount | None) -> None:
        """The answer is over, and this is our count of what it did not state."""
        self.counted = own

    def charge_at_least(self, output_tokens: int) -> None:
        """The vendor goes on, and nobody reads it."""
        self.output_held = output_tokens

    @property
    def complete(self) -> bool:
        """Whether all of the stream has passed, however its connection ends."""
        return self.meter is not None and self.meter.complete

    def take(self, chunk: bytes, *, last: bool = False) -> bool:
        """Reads a copy of a chunk. True if a mark must be written before it may be passed on.

        The `last` one waits for the record, and needs no mark.
        """
        self.bytes_out += len(chunk)
        self.chunks += 1
        meter = self.meter
        if self.first_byte_s is None:
            self.first_byte_s = monotonic()
        if meter is None:
            if last and (whole := self._read_whole(chunk)) is not None:
                self.meter = whole
                self.whole = True
                return False
            meter = self.meter = self._open_meter()
        meter.feed(chunk)
        if last:
            return False
        if meter.output_measure > self._marked_tokens:
            return True
        # Some vendors state a running total with each chunk; only the final statement must be safe
        # before the client can see it.
        return meter.usage_final and not (self._marked_final and meter.usage is self._marked_usage)

    def passed(self, chunk_bytes: int) -> None:
        """A chunk went the short way (flow.py): its text is covered."""
        self.bytes_out += chunk_bytes
        self.chunks += 1

    @property
    def marked_tokens(self) -> int:
        """The output that the journal covers."""
        return self._marked_tokens

    def mark(self, exchange_id: str) -> Marked:
        """The mark that covers all that was taken so far."""
        meter = self.meter
        assert meter is not None
        if meter.output_measure > self._marked_tokens:
            self._marked_tokens = (meter.output_measure // MARK_STEP_TOKENS + 1) * MARK_STEP_TOKENS
        self._marked_usage = meter.usage
        self._marked_final = meter.usage_final
        return Marked(
            id=exchange_id,
            output_tokens=self._marked_tokens,
            usage=meter.usage,
            final=meter.usage_final,
            status=self.status,
            model_served=meter.model_served,
        )

    def end(self) -> None:
        """The answer is over: reads what has waited for its end. Idempotent."""
        if self.meter is None and self._head is not None:
            self.meter = self._open_meter()
        if self.meter is not None:
            self.meter.end()

    @property
    def shows_its_end(self) -> bool:
        """Whether the answer itself says that it is whole. Known after `end`."""
        return self.meter is not None and self.meter.shows_its_end

    @property
    def failed(self) -> bool:
        """Whether an answer under a status of success has said inside that it failed."""
        return (
            self.meter is not None
            and self.meter.error
            and self.status is not None
            and self.status < 400
        )

    @property
    def unstated(self) -> bool:
        """Whether the answer leaves anything to be counted. Known after `end`."""
        meter = self.meter
        if meter is None or self.status is None or not 200 <= self.status < 300:
            return False
        if meter.usage is None:
            return meter.answered is not False
        answered = meter.answered is True and not meter.error and meter.finish_reason != FILTERED
        usage = meter.usage.beside(meter.output_measure, answered=answered)
        return usage.input_tokens is None or usage.output_tokens is None or not meter.usage_current

    def ending(self, how: How) -> Ending:
        """All of it, for the settlement. An answer that was read whole and says inside that it
        failed is an error event."""
        if not self.whole:
            self.end()
        meter = self.meter
        duration_s = monotonic() - self.started_s
        first_byte_ms = (
            None if self.first_byte_s is None else int((self.first_byte_s - self.started_s) * 1000)
        )
        if meter is None:
            return Ending(
                how=how,
                status=self.status,
                answered=None,
                output_held=self.output_held,
                duration_ms=int(duration_s * 1000),
                upstream_request_id=self.request_id,
            )
        if type(meter) is WholeAnswer:
            # So few names: with more than fifteen the call would go through a dict.
            return Ending(
                how=how,
                status=self.status,
                usage=meter.usage,
                usage_current=True,
                usage_final=True,
                output_measure=meter.output_measure,
                duration_ms=int(duration_s * 1000),
                first_byte_ms=first_byte_ms,
                bytes_out=self.bytes_out,
                chunks=self.chunks,
                model_served=meter.model_served,
                finish_reason=meter.finish_reason,
                service_tier=meter.service_tier,
                output_held=self.output_held,
                upstream_request_id=self._request_name(meter),
            )
        over = how is How.ANSWERED or (how is How.CLIENT_LEFT and meter.complete)
        if over and self.failed:
            how = How.ERROR_EVENT
        return Ending(
            how=how,
            status=self.status,
            usage=meter.usage,
            usage_current=meter.usage_current,
            usage_final=meter.usage_final,
            answered=meter.answered,
            output_measure=meter.output_measure,
            output_held=self.output_held,
            counted=self.counted,
            done=meter.complete,
            duration_ms=int(duration_s * 1000),
            first_byte_ms=first_byte_ms,
            bytes_out=self.bytes_out,
            chunks=self.chunks,
            model_served=meter.model_served,
            finish_reason=meter.finish_reason,
            service_tier=meter.service_tier,
            unread=meter.unreadable or meter.oversized or meter.doubtful,
            upstream_request_id=self._request_name(meter),
        )

    def _request_name(self, meter: Meter) -> str | None:
        """What the record calls the request: the better of the vendor's names for it."""
        if self.request_id is None or (self.named and meter.response_id is not None):
            return meter.response_id
        return self.request_id


def write_mark(journal: Journal, progress: Progress, id: str) -> ProxyError | None:
    """Writes down how far an answer has come. Returns what its client is told if that cannot be
    written, and the answer has to end."""
    try:
        journal.mark(progress.mark(id))
    except JournalUnavailable as error:
        LOG.error("an answer is cut because the journal cannot take its mark: %s", error)
        return journal_unavailable(
            "write its journal",
            "it cuts this answer, which is charged as far as it came",
            again=False,
        )
    return None
