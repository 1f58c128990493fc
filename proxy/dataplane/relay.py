"""One upstream attempt, from "sent" to "over".

It is driven by bytes from the upstream, the client (it leaves, reads slowly), the watchdog, limits
and revoked keys, in callbacks on the event loop. Each looks at `how` first: once an ending is
decided, nothing changes it. Chunks that `flow.py` passes on do not come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from proxy.core.errors import ProxyError
from proxy.core.http.response_head import AnswerHead, MalformedAnswer
from proxy.core.records.ending import How
from proxy.dataplane.admission import Admitted
from proxy.dataplane.flow import open_flow
from proxy.dataplane.progress import Progress, write_mark
from proxy.dataplane.response import RelayedResponse
from proxy.dataplane.services import Services
from proxy.dataplane.upload import sending, stop, whole_s
from proxy.dataplane.upstream.body import Body
from proxy.dataplane.upstream.connection import UpstreamConnection
from proxy.dataplane.upstream.overdue import overdue

# How vendors refuse a member that they do not know; pydantic's servers with 422.
DECLINES = (400, 422)


class Relay:
    """Sends one request on a connection in hand and passes its answer on. `over` is done when there
    is nothing more to pass.

    how · the ending, once decided          clean · the answer was read to its proper end
    error · what the client is told, if the answer has not begun

    `spliced`: the request asks for usage on the client's behalf. A refusal of it (400, 422) ends
    the attempt with `declined`, and nothing is passed on. The usage event that the client did not
    ask for is taken out of its answer.
    """

    def __init__(
        self,
        services: Services,
        admitted: Admitted,
        *,
        spliced: bool,
        started_s: float,
        sent: Callable[[], None],
    ) -> None:
        self._services = services
        self._admitted = admitted
        self._upstream = admitted.upstream
        self._client = admitted.request.connection
        self._opened = admitted.opened
        self._hold = admitted.hold
        self._upload = admitted.upload
        self._spliced = spliced
        self._tell_sent = sent
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.progress = Progress(started_s)
        # All names are set here: one that came later would give each relay a dict of its own.
        self.how: How | None = None
        self.error: ProxyError | None = None
        self.waits_to_be_sent = True  # some of the request is still in this process
        self.clean = self.declined = False
        self.sent_s = 0.0  # monotonic; 0: nothing was sent
        self._connection: UpstreamConnection | None = None
        self._body: Body | None = None
        self._answer: RelayedResponse | None = None
        self._left = False  # the client is gone
        self._draining_since_s: float | None = None
        self._last_seen = (0, 0.0)  # bytes passed on and when, for the idle timeout
        self._growing: asyncio.Task[None] | None = None
        # The key may not go on. And it was told: the answer has a proper end.
        self._stopped = self._ended_by_limit = False
        # A limit ends the stream; its client is told so at the next end of an event.
        self._told: ProxyError | None = None

    def hold(self, connection: UpstreamConnection) -> None:
        """Takes charge of the connection, which the ending will release or discard."""
        self._connection = connection

    def send(self, payload: bytes) -> None:
        """One write: head and body."""
        connection = self._connection
        assert connection is not None
        connection.serve(self)
        self.sent_s = monotonic()
        self._last_seen = (0, self.sent_s)
        connection.send(payload)

    def end(self) -> None:
        """Ends the answer towards the client: cleanly as the upstream did, or visibly cut.

        Raises what the client is to be told.
        """
        if self.error is not None and not self._client.head_written:
            raise self.error
        if self._answer is None:
            self._client.cut()
        elif (
            self.clean
            or self._ended_by_limit
            or (self.how is How.ANSWERED and self._answer.open_ended)
        ):
            self._answer.end()
        else:
            self._answer.cut()

    def decide(self, how: How, *, error: ProxyError | None = None) -> None:
        """The ending, once and for all: the connection goes back to its pool, or is dropped."""
        if self.how is not None:
            return
        self.how = how
        self.error = error
        if self._draining_since_s is not None:
            self._services.drains.give_back(self._opened.key_id)
        self._let_go()

    def request_sent(self) -> None:
        self.waits_to_be_sent = False
        self._tell_sent()

    # Bytes from the upstream.

    def head_received(self, head: AnswerHead, body: Body) -> None:
        if head.code < 200:
            self._fail_upstream("switched protocols unasked")
            return
        if head.code in DECLINES and self._spliced:
            self.progress.declined(head.code)
            self.declined = True
            self._let_go()
            return
        dialect, upstream = self._admitted.dialect, self._upstream
        self.progress.head_came(head, dialect)
        self._services.metrics.upstream_limits.seen(
            upstream.name, head.headers, dialect.remaining_fields
        )
        if head.code >= 400 and upstream.rejects_our_credential(head.code):
            self._services.metrics.upstream_error(upstream.name, "credentials")
            self.decide(How.ANSWERED, error=upstream.credential_rejected(head.code))
            return
        self._body = body
        if self._upload is not None and sending(self._upload):
            self._client.close_after()  # no more of a body behind its answer
        strip = None
        if self._spliced and head.code < 400 and dialect.usage_filter is not None:
            strip = dialect.usage_filter(self._admitted.snapshot.settings.bodies.event_max_bytes)
        self._answer = RelayedResponse(
            self._admitted.request,
            upstream,
            head,
            self._opened.id,
            stream=self._opened.stream,
            added=self._hold.fields,
            strip=strip,
        )
        self.progress.begin(self._admitted, head)

    def body_received(self) -> None:
        """Passes on whatever has arrived, as far as the client keeps up."""
        body = self._body
        if body is None or self.how is not None or self._growing is not None:
            return
        over = body.at_eof()
        while not over and (self._left or not self._client.paused):
            chunk = body.read_nowait()
            if not chunk:
                break
            over = body.over
            if not self._pass(chunk, last=over) or self._growing is not None:
                return
        if over:
            if self._ended_by_anybody():
                self._fail_upstream("broke its answer off (TLS ended without close_notify)")
                return
            self.clean = True
            self.decide(How.ANSWERED if self._draining_since_s is None else How.CLIENT_LEFT_DRAINED)
        elif self._client.paused and not self._left:
            if self._connection is not None and self._connection.is_connected():
                self._connection.pause_reading()
        elif self._answer is not None and not self._left:
            self._answer.begin()
            if self._connection is not None and self._told is None:
                open_flow(self._connection, self._client, self._answer, self.progress, self._hold)

    def connection_failed(self, error: BaseException | None) -> None:
        if self.how is not None:
            return
        body, answer = self._body, self._answer
        if (
            body is not None
            and answer is not None
            and body.is_eof()
            and not (answer.ends_with_connection and error is not None)
        ):
            self.body_received()  # the answer is whole; its end may still wait for a slow client
        elif isinstance(error, MalformedAnswer):
            self._fail_upstream(str(error), "malformed")
        else:
            self._fail_upstream("closed the connection")

    # The client.

    def client_left(self) -> None:
        """Acts on `on_client_gone`: stop at once, or read on to learn what the vendor will bill."""
        self._left = True
        if self._connection is not None:
            self._connection.flow(None)
        if self.how is not None or self._connection is None:
            return
        if self.sent_s == 0.0:
            self.decide(How.CLIENT_LEFT)
            return
        if self.progress.failed:
            # A client that closes on reading the vendor's error has not ended the answer: it had.
            self.decide(How.ERROR_EVENT)
            return
        policy: str = self._upstream.policy_for_a_client_gone(
            self._admitted.call.model, self._opened.stream
        )
        if self.progress.complete or sending(self._upload):
            policy = "stop"
        elif policy == "drain" and not self._services.drains.take(
            self._opened.key_id, self._admitted.snapshot.settings.after_client_left.max
        ):
            policy = "no_room"
        self._services.metrics.client_gone(self._upstream.name, policy)
        if policy == "drain":
            self._draining_since_s = monotonic()
            self.client_writable()
        else:
            self._leave(unread=policy == "no_room" or self._admitted.call.background)

    def stop(self, refusal: ProxyError) -> None:
        """Ends a stream behind its present event, which says why; within a second all else."""
        if self.how is None and not self._left and self._connection is not None:
            self._connection.flow(None)
            self._told, self._stopped = refusal, True
            self._cut_by_limit()

    def _leave(self, *, unread: bool) -> None:
        """`unread`: the vendor goes on and bills what nobody reads, so what was held for it is
        charged: leaving is not free."""
        if unread:
            self.progress.charge_at_least(self._hold.output_tokens)
        self.decide(How.CLIENT_LEFT)

    def client_writable(self) -> None:
        if self.how is not None:
            return
        if self._connection is not None and self._connection.is_connected():
            self._connection.resume_reading()
        self.body_received()

    # Time.

    def watch(self, now_s: float) -> None:
        """Called once a second: ends what takes too long."""
        if self.how is not None or self._connection is None or self.sent_s == 0.0:
            return
        if self._stopped and not self._left:
            if self._answer is None:  # the vendor works on it
                self.progress.charge_at_least(self._hold.output_tokens)
            self.decide(How.CUT, error=self._told)
            return
        since_s = self._draining_since_s
        if (
            since_s is not None
            and now_s - since_s > self._admitted.snapshot.settings.after_client_left.timeout_s
        ):
            self._leave(unread=True)
            return
        if self.progress.bytes_out != self._last_seen[0]:
            self._last_seen = (self.progress.bytes_out, now_s)
        late = overdue(
            self._upstream.timeouts,
            now_s - whole_s(self._upload, self.sent_s),
            now_s - self._last_seen[1],
            begun=self.progress.status is not None,
            stuck_s=None if self._upload is None else self._upload.stuck_s(now_s),
        )
        if late is not None and late.silent and self._client.paused and not self._left:
            self._client.abort()  # it is the client who does not read: it counts as gone
        elif late is not None:
            self._time_out(late.what)

    # Steps.

    def _pass(self, chunk: bytes, *, last: bool) -> bool:
        """Reads a copy, writes the mark that covers the chunk, then the chunk. The last one waits
        for the record. False if that ended it all."""
        answer, mark_due = self._answer, self.progress.take(chunk, last=last)
        assert answer is not None
        meter = self.progress.meter
        if meter is not None and meter.texts is not None and meter.texts.blocks:
            self._admitted.counting.take(meter.texts)
        if answer.tells_our_credential(chunk):
            self._services.metrics.upstream_error(self._upstream.name, "credentials")
            self.decide(self._upstream_ending(), error=self._upstream.told_our_credential())
            return False
        if last:
            answer.hold(chunk)
            return True
        if meter is not None and self._opened.stream and self._hold.outgrown(meter.output_so_far):
            self._growing = asyncio.create_task(self._grow(meter.output_so_far), name="grow")
        if mark_due:
            refusal = write_mark(self._services.journal, self.progress, self._opened.id)
            if refusal is not None:
                self.decide(How.CUT, error=refusal)
                return False
        if self._cut_by_limit(chunk):
            return False
        if not self._left:
            answer.write(chunk)
        return True

    async def _grow(self, output_tokens: int) -> None:
        """The stream has outgrown what it holds of its limits, so nothing more is passed on until
        it holds more, or is ended."""
        refusal = await self._hold.grow(output_tokens)
        self._growing = None
        if refusal is not None:
            self._told = refusal
            self._cut_by_limit()
        self.body_received()

    def _cut_by_limit(self, chunk: bytes = b"") -> bool:
        """Ends a stream that a limit has no more for, with an event that says so, behind the last
        whole event; what is over already is left to its end.

        `chunk` was read and not passed on yet: the meter has counted it, so what of it is whole is
        the client's. True if that is done.
        """
        meter, answer = self.progress.meter, self._answer
        if (
            self._told is None
            or self.how is not None
            or answer is None
            or meter is None
            or meter.complete
        ):
            return False
        if answer.tellable and not meter.between_events:
            # Chunks need not end where events do: what buffers in between cuts them anywhere.
            chunk = meter.whole_events(chunk)
            if not chunk:
                return False
        if chunk and not self._left:
            answer.write(chunk)
        self._ended_by_limit = answer.tell(self._admitted.dialect.error_event(self._told, meter))
        self.decide(How.CUT)
        return True

    def _ended_by_anybody(self) -> bool:
        """Whether only a FIN tells that the answer is whole, which over TLS anybody on the way can
        send."""
        answer, connection = self._answer, self._connection
        if answer is None or connection is None:
            return False
        if not (answer.ends_with_connection and connection.truncated):
            return False
        self.progress.end()
        return not self.progress.shows_its_end

    def _fail_upstream(self, what: str, kind: str = "reset") -> None:
        if not self._end_complete():
            self._services.metrics.upstream_error(self._upstream.name, kind)
            self.decide(self._upstream_ending(), error=self._upstream.failed(what))

    def _time_out(self, what: str) -> None:
        if not self._end_complete():
            self._services.metrics.upstream_error(self._upstream.name, "timeout")
            self.decide(self._upstream_ending(), error=self._upstream.timed_out(what))

    def _end_complete(self) -> bool:
        """Ends a stream of which all has come: how its connection ends takes nothing from it. False
        if some is missing."""
        if not self.progress.complete:
            return False
        self.decide(How.ANSWERED if self._draining_since_s is None else How.CLIENT_LEFT_DRAINED)
        return True

    def _upstream_ending(self) -> How:
        begun = self.progress.status is not None
        return How.CLIENT_LEFT if self._left else How.UPSTREAM_CUT if begun else How.NO_HEAD

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            cut = self._upload is not None and stop(self._upload)
            keeper = connection.keeper
            (keeper.release if self.clean and not cut else keeper.discard)(connection)
        if not self.over.done():
            self.over.set_result(None)
