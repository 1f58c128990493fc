"""The life of one admitted request, and the only place that knows the order of its steps:
`Exchange.run`.

What happens between "sent" and "over" is the relay's (`relay.py`). A vendor may refuse our question
for usage: `_send_plain` sends the request once more without it. Then what no vendor stated is
counted, which may take a moment; the drain may settle meanwhile. From the record to its closed
journal entry (`_settle`) nothing awaits, so nothing can come between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

import msgspec

from proxy.core.entries import Opened, Voided
from proxy.core.errors import ProxyError
from proxy.core.records.ending import Ending, How
from proxy.core.records.late import late_record
from proxy.core.records.settlement import settle
from proxy.core.usage import UNMETERED, Outcome, Source, UsageRecord
from proxy.dataplane.admission import Admitted
from proxy.dataplane.batches import as_ordered
from proxy.dataplane.relay import Relay
from proxy.dataplane.services import Services, journal_unavailable
from proxy.dataplane.upstream.connection import UpstreamConnection
from proxy.dataplane.upstream.pool import ConnectError
from proxy.journal import JournalUnavailable


class Exchange:
    """One request and its upstream attempt. `run` returns when its answer is written, or cut."""

    def __init__(self, services: Services, admitted: Admitted) -> None:
        self._services = services
        self._admitted = admitted
        self._upstream = admitted.upstream
        self._client = admitted.request.connection
        self._opened = admitted.opened
        self._counting = admitted.counting
        self._hold = admitted.hold
        self._payload = admitted.payload
        self._started_s = monotonic()
        # All names are set here: one that came later would give each exchange a dict of its own.
        self._connecting: asyncio.Task[None] | None = None
        self._refusal: ProxyError | None = None  # of a key that may not go on, while it waits
        self._stopped: ProxyError | None = None  # the same, while it ran
        self._left = False  # the client is gone
        self._sent = False  # something reached the upstream
        self._settled = False
        self.relay = self._attempt(spliced=self._payload.plain is not None)

    @property
    def stream(self) -> bool:
        return self._opened.stream

    @property
    def booked(self) -> bool:
        """Whether the exchange has its record: something was sent, and it is over."""
        return self._settled and self._sent

    @property
    def limit_fields(self) -> Sequence[tuple[bytes, bytes]]:
        """How the request's tightest limit stood when it was let through, for an answer of ours."""
        return self._hold.fields

    async def run(self) -> None:
        """All of it, from the limits to the end of the answer:

        reserve → connect → journal.open → send → relay → count what was not stated → settle and
        journal.close → end the answer.
        """
        services = self._services
        try:
            await self._hold.reserve()
            connection = self._at_hand()
            if connection is None:
                connection = await self._connect()
            if connection is None:
                return
            self._open(connection)
            try:
                if services.sync_always:
                    await self._synced("it forwards nothing. Try again")
                    connection = await self._still_usable(connection)
                self._send(connection)
                await self.relay.over
                if self.relay.declined:
                    await self._send_plain()
                if not self.relay.progress.whole and self._is_to_be_counted():
                    await self._count()
            finally:
                self._settle()
            if services.sync_always:
                await self._synced(
                    "it does not end this answer; it was sent and is charged, so do not send it"
                    " again",
                    again=False,
                )
            if services.fail is not None:
                services.fail("exchange.end.before")
            if not self._left and not self._client.lost:
                self.relay.end()
            if services.fail is not None:
                services.fail("exchange.end.after")
        finally:
            self._hold.void()  # whatever left it unsettled: nothing was sent
            if not self._sent:
                self._counting.abandon()

    def client_left(self) -> None:
        if self._left:
            return
        self._left = True
        if self._connecting is not None:
            # The client is gone, and others may be waiting for the place.
            self._connecting.cancel()
        self.relay.client_left()
        if self.relay.how is not None:
            self._hold.client_left()

    @property
    def opened(self) -> Opened:
        return self._opened

    def stop(self, refusal: ProxyError) -> None:
        """The key may not go on: its answer ends within a second, as far as it came."""
        if self._connecting is None:
            self._stopped = refusal
            self.relay.stop(refusal)
        else:
            self._refusal = refusal
            self._connecting.cancel()

    def client_writable(self) -> None:
        self.relay.client_writable()

    def watch(self, now_s: float) -> None:
        """Called once a second: ends what takes too long.

        It also frees the body of a request once that cannot be sent again.
        """
        relay = self.relay
        if relay.progress.status is not None and not relay.declined and not relay.waits_to_be_sent:
            self._payload.release()
        self.relay.watch(now_s)

    def end_now(self) -> None:
        """The drain deadline: books what was delivered and closes both connections, at once."""
        self.relay.decide(How.INTERRUPTED)
        self._settle()
        self._client.cut()

    def _attempt(self, *, spliced: bool) -> Relay:
        return Relay(
            self._services,
            self._admitted,
            spliced=spliced,
            started_s=self._started_s,
            sent=self._payload.sent,
        )

    def _at_hand(self) -> UpstreamConnection | None:
        """A connection that is open and idle, which most requests find: then nothing waits."""
        self._client.serve(self)
        if self._client.lost:
            return None
        return self._services.pools.of(self._upstream).take_idle()

    async def _connect(self) -> UpstreamConnection | None:
        """A connection in hand, or None if the client left meanwhile."""
        upstream = self._upstream
        pool = self._services.pools.of(upstream)
        self._client.serve(self)
        self._connecting = task = asyncio.current_task()
        self._services.waiting.add(self)
        try:
            connection = await pool.acquire()
            if not self._client.lost:
                return connection
            pool.release(connection)
        except asyncio.CancelledError:
            stopped = self._left or self._refusal is not None
            if not stopped or task is None or task.uncancel():
                raise  # the process ends
            if self._refusal is not None:
                raise self._refusal from None
        except ConnectError as error:
            self._services.metrics.upstream_error(upstream.name, error.kind)
            raise (
                upstream.failed("could not be reached a second time")
                if self._sent
                else upstream.unreachable(error)
            ) from error
        finally:
            self._connecting = None
            self._services.waiting.discard(self)
        if not self._sent:
            self._services.metrics.client_gone(upstream.name, "before_send")
        return None

    def _open(self, connection: UpstreamConnection) -> None:
        """From here on there is an open journal entry, and with it the duty to close it. Without a
        connection there is none, and no record.

        Its body and its connection may have been waited for, so its key may be closed by now.
        """
        refused = self._services.keys.refusal_of(self._opened.key_id)
        if refused is not None:
            self._services.pools.of(self._upstream).release(connection)
            raise refused
        try:
            self._services.journal.open(self._opened)
        except JournalUnavailable as error:
            self._services.pools.of(self._upstream).release(connection)
            raise journal_unavailable(
                "write its journal", "it forwards nothing. Try again"
            ) from error
        self._services.exchanges.add(self)
        self.relay.hold(connection)

    async def _synced(self, so: str, *, again: bool = True) -> None:
        """Under `sync: always`, waits until the journal is on the disk. Raises ProxyError 503;
        `again` says whether the client may try again."""
        try:
            await self._services.journal.synced()
        except JournalUnavailable as error:
            raise journal_unavailable("make its journal durable", so, again=again) from error

    async def _still_usable(self, connection: UpstreamConnection) -> UpstreamConnection:
        """Another connection if the upstream closed this one while the journal was synced. Nothing
        was sent on it, so nothing is sent twice."""
        if self.relay.how is not None or connection.usable:
            return connection
        self._services.pools.of(self._upstream).discard(connection)
        other = await self._connect()
        if other is None:
            self.relay.decide(How.CLIENT_LEFT)
            return connection
        self.relay.hold(other)
        return other

    def _send(self, connection: UpstreamConnection) -> None:
        """What ends an exchange before its first byte (only under `sync: always` is there a moment)
        leads to a void."""
        fail = self._services.fail
        if fail is not None:
            fail("exchange.send.before")
        if self.relay.how is not None:
            return
        if not connection.is_connected():  # a fresh one that was closed at once
            raise self._upstream.unreachable(
                ConnectError("connect", "the connection was closed before the request was sent")
            )
        self.relay.send(self._payload.take_first())
        if self._admitted.upload is not None:
            self._admitted.upload.start(connection, self.relay.decide)
        self._sent = True
        if fail is not None:
            fail("exchange.send.after")

    async def _send_plain(self) -> None:
        """The vendor refused a request that asks for usage: once more without the question, as the
        client had put it."""
        if self._stopped is not None:
            self.relay.decide(How.CUT, error=self._stopped)
            return
        try:
            connection = None if self._left else await self._connect()
        except ProxyError:
            self.relay.decide(How.NO_HEAD)
            raise
        if connection is None:
            self.relay.decide(How.CLIENT_LEFT)
            return
        if self._settled:
            # The process ends, and the record is made.
            self._services.pools.of(self._upstream).release(connection)
            return
        self._counting.unasked()
        self.relay = self._attempt(spliced=False)
        self.relay.hold(connection)
        self.relay.send(self._payload.take_plain())
        await self.relay.over
        status = self.relay.progress.status
        if status is not None and status < 400:
            model = self._admitted.call.model
            self._services.usage_refusals.declined(
                self._upstream.name, model, self._opened.key_id, monotonic()
            )
            self._services.metrics.question_declined(self._upstream.name)

    def _is_to_be_counted(self) -> bool:
        """Whether the answer, which is over, left anything unstated."""
        progress = self.relay.progress
        progress.end()
        return self._opened.charge_class is None and progress.unstated and not self._settled

    async def _count(self) -> None:
        """What the upstream has not stated is counted, if anything was delivered of which it could
        be. The drain may settle meanwhile, without it."""
        progress = self.relay.progress
        assert progress.meter is not None
        progress.count(await self._counting.over(progress.meter))

    def _settle(self) -> None:
        """What was used becomes the record, and the record is journaled. Nothing here awaits.
        Idempotent."""
        if self._settled:
            return
        self._settled = True
        services, relay = self._services, self.relay
        services.exchanges.discard(self)
        if relay.how is None:
            relay.decide(How.INTERRUPTED)  # only a fault of ours gets here undecided
        if not self._sent:
            services.journal.void(Voided(id=self._opened.id, reason="nothing was sent"))
            return
        if services.fail is not None:
            services.fail("exchange.settle.before")
        assert relay.how is not None
        progress, opened, upload = relay.progress, self._opened, self._admitted.upload
        meter = progress.meter
        if meter is not None and opened.charge_class is None and meter.goes_on:
            # it is written behind this answer
            progress.charge_at_least(self._hold.output_tokens)
        if upload is not None:
            opened = msgspec.structs.replace(opened, bytes_in=upload.sent_bytes)
        ending = progress.ending(relay.how)
        dialect, prices = self._admitted.dialect, self._admitted.snapshot.prices
        if opened.charge_class is not None and self._admitted.call.background:
            opened = as_ordered(opened, ending)
        record = settle(opened, ending, services.journal.writer, prices)
        services.journal.close(record)
        if dialect.kept_path is not None:
            self._keep(record, ending)
        elif dialect.names_what_it_made:
            for booked, late in services.book_batch(record, meter, prices):
                self._hold.correct(booked, late)
        if record.outcome is not Outcome.COMPLETED or record.reason is not None:
            fault = _fault(record, relay.how)
            if fault is not None:
                services.metrics.upstream_error(record.upstream, fault)
        self._hold.settle(record)
        if services.fail is not None:
            services.fail("exchange.close.after")
        first_byte_s = (
            None if progress.first_byte_s is None else progress.first_byte_s - progress.started_s
        )
        if progress.meter is not None:
            self._counting.learn(progress.meter, record)
        services.tell(
            record,
            monotonic() - progress.started_s,
            first_byte_s,
            self._admitted.snapshot.settings.log.requests,
        )

    def _keep(self, record: UsageRecord, ending: Ending) -> None:
        """Remembers an answer that its vendor keeps. One that was not known before and is whole now
        makes the late record of the request that asked for it."""
        services, meter, call = self._services, self.relay.progress.meter, self._admitted.call
        if meter is None or record.status not in range(200, 300):
            return
        if call.store and self._upstream.settings.auth == "own":
            services.items.learn(record.upstream, record.team, record.key_id, meter.item_ids)
        if meter.response_id is None:
            return
        if self._opened.charge_class is None:
            waits = meter.goes_on or (call.background and record.source is not Source.REPORTED)
            services.kept_answers.learn(record, waits=waits)
            if self._upstream.settings.auth == "own":
                services.kept_answers.went_on(call.continues, record)
            return
        kept = services.kept_answers.known(meter.response_id)
        if kept is None or kept.waiting is None or meter.goes_on or not meter.shows_its_end:
            return
        now_ms = services.now_ms()
        late = late_record(
            kept.waiting, ending, now_ms, services.journal.writer, self._admitted.snapshot.prices
        )
        if late is not None:
            self._hold.correct(kept.waiting, late)
            kept.wait(None)
            services.journal.close(late)
            services.recorder.wake(late)


def _fault(record: UsageRecord, how: How) -> str | None:
    """What was wrong with an answer that came whole, under a 2xx status, if something was."""
    if record.status is None or not 200 <= record.status < 300 or how is How.UPSTREAM_CUT:
        return None
    if record.reason == UNMETERED:
        return UNMETERED
    if record.source is Source.NONE and record.outcome is not Outcome.COMPLETED:
        return "no_answer"
    return "error_event" if record.outcome is Outcome.UPSTREAM_FAILED else None
