"""The life of one admitted request, and the only place that knows the order of its steps: `Exchange.run`.

Everything between "sent" and "over" happens in callbacks on the event loop: bytes from the upstream, the client leaving or reading slowly,
the watchdog. Each looks at `_how` first: once an ending is decided, nothing changes it. From there to the closed journal entry nothing
awaits, so nothing can come between.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from proxy.answer import Answer
from proxy.core.dialects.openai_chat import Meter
from proxy.core.entries import Opened, Voided
from proxy.core.errors import ProxyError, unavailable
from proxy.core.headers import first_text
from proxy.core.settlement import How, settle
from proxy.journal import JournalUnavailable
from proxy.listener import Request
from proxy.parts import Memory, Parts
from proxy.pool import ConnectError, UpstreamConnection
from proxy.progress import Progress
from proxy.site import Site
from proxy.upstream import Upstream

LOG = logging.getLogger("tollkeeper.exchange")


class Exchange:
    """One request and its one upstream attempt. `run` returns when the answer was written, as far as there is someone to read it."""

    def __init__(self, parts: Parts, site: Site, upstream: Upstream, request: Request, opened: Opened, payload: bytes, memory: Memory) -> None:
        self._parts = parts
        self._settings = site.settings  # the config it was admitted under, whatever is reloaded meanwhile
        self._upstream = upstream
        self._request = request
        self._client = request.connection
        self._opened = opened
        self._payload = payload                # request head and body, until they are sent
        self._memory = memory
        self._progress = Progress()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connecting: asyncio.Task[None] | None = None
        self._connection: UpstreamConnection | None = None
        self._how: How | None = None           # the ending, once decided
        self._error: ProxyError | None = None  # what the client is told, if the answer has not begun
        self._clean = False                    # the upstream's answer was read to its proper end
        self._left = False                     # the client is gone
        self._draining_since_s: float | None = None
        self._sent_s = 0.0
        self._last_seen = (0, 0.0)             # bytes passed on and when, for the idle timeout
        self._body: StreamReader | None = None
        self._answer: Answer | None = None
        self._settled = False

    @property
    def stream(self) -> bool:
        return self._opened.stream

    @property
    def booked(self) -> bool:
        """Whether the exchange has its record: something was sent, and it is over."""
        return self._settled and self._sent_s > 0.0

    async def run(self) -> None:
        """connect → journal.open → send → relay → settle and journal.close → end the answer."""
        parts = self._parts
        connection = await self._connect()
        if connection is None:
            return
        self._open(connection)
        try:
            await self._synced("it forwards nothing. Try again")
            self._send(connection)
            await self._over
        finally:
            self._settle()
        await self._synced("it does not end this answer, which is charged")
        parts.fail("exchange.end.before")
        self._end()
        parts.fail("exchange.end.after")

    async def _synced(self, so: str) -> None:
        """Under `sync: always`, waits until the journal is on the disk. Raises ProxyError 503."""
        try:
            if self._parts.sync_always:
                await self._parts.journal.synced()
        except JournalUnavailable as error:
            raise _journal_unavailable("make its journal durable", error, so) from error

    async def _connect(self) -> UpstreamConnection | None:
        """A connection in hand, or None if the client left meanwhile. Nothing is journaled yet: no connection, no record."""
        upstream = self._upstream
        self._client.client = self
        self._connecting = task = asyncio.current_task()
        try:
            connection = await upstream.pool.acquire()
            if not self._client.lost:
                return connection
            upstream.pool.release(connection)
        except asyncio.CancelledError:
            if not self._left or task is None or task.uncancel():
                raise  # the process ends
        except ConnectError as error:
            self._parts.metrics.upstream_error(upstream.name, error.kind)
            raise upstream.unreachable(error) from error
        finally:
            self._connecting = None
        self._parts.metrics.client_gone(upstream.name, "before_send")
        return None

    def _open(self, connection: UpstreamConnection) -> None:
        """From here on there is an open journal entry, and with it the duty to close it."""
        try:
            self._parts.journal.open(self._opened)
        except JournalUnavailable as error:
            self._upstream.pool.release(connection)
            raise _journal_unavailable("write its journal", error, "it forwards nothing. Try again") from error
        self._parts.exchanges.add(self)
        self._connection = connection

    def _send(self, connection: UpstreamConnection) -> None:
        """One write: head and body. What ends an exchange before it (only under `sync: always` is there a moment) leads to a void."""
        self._parts.fail("exchange.send.before")
        if self._how is not None:
            return
        if not connection.is_connected():
            raise self._upstream.unreachable(ConnectError("connect", "the connection was closed before the request was sent"))
        connection.receiver = self
        self._sent_s = monotonic()
        self._last_seen = (0, self._sent_s)
        connection.send(self._payload)
        self._payload = b""
        self._memory.release()
        self._parts.fail("exchange.send.after")

    # Bytes from the upstream.

    def head_received(self, head: RawResponseMessage, body: StreamReader) -> None:
        if head.code < 200:
            self._fail_upstream("switched protocols unasked")
            return
        self._progress.status = head.code
        self._progress.request_id = first_text(head.raw_headers, b"x-request-id")
        if self._upstream.rejects_our_credential(head.code):
            self._parts.metrics.upstream_error(self._upstream.name, "credentials")
            self._decide(How.ANSWERED, error=self._upstream.credential_rejected(head.code))
            return
        self._body = body
        self._answer = Answer(self._request, self._upstream, head, self._opened.id, stream=self._opened.stream)
        bodies = self._settings.bodies
        self._progress.meter = Meter(
            stream=self._opened.stream, status=head.code, event_bytes_max=bodies.event_max_bytes, answer_bytes_max=bodies.answer_max_bytes,
            content_type=first_text(head.raw_headers, b"content-type"), content_encoding=first_text(head.raw_headers, b"content-encoding"),
        )

    def body_received(self) -> None:
        """Passes on whatever has arrived, as far as the client keeps up."""
        body = self._body
        if body is None or self._how is not None:
            return
        while self._left or not self._client.paused:
            try:
                chunk = body.read_nowait()
            except (ClientError, HttpProcessingError, OSError):
                self._fail_upstream("broke its answer off")
                return
            if not chunk:
                break
            if not self._pass(chunk, last=body.at_eof()):
                return
        if body.at_eof():
            self._answered()
        elif self._client.paused and not self._left:
            if self._connection is not None and self._connection.is_connected():
                self._connection.pause_reading()
        elif self._answer is not None and not self._left:
            self._answer.begin()

    def connection_failed(self, error: BaseException | None) -> None:
        if self._how is not None:
            return
        body, answer = self._body, self._answer
        if body is not None and answer is not None and body.is_eof() and not (answer.ends_with_connection and error is not None):
            self.body_received()  # the answer is whole; its end may still wait for a slow client
        else:
            self._fail_upstream("closed the connection")

    # The client.

    def client_left(self) -> None:
        """Acts on `on_client_gone`: stop at once, or read on to learn what the vendor will bill."""
        if self._left:
            return
        self._left = True
        if self._connecting is not None:
            self._connecting.cancel()  # nobody is left to connect for, and others may be waiting for the place
        if self._how is not None or self._connection is None:
            return
        if self._sent_s == 0.0:
            self._decide(How.CLIENT_LEFT)
            return
        policy = self._upstream.policy_for_a_client_gone(self._opened.model_requested, self._opened.stream)
        if policy == "drain" and self._parts.draining_exchanges >= self._settings.drains.max:
            policy = "stop"
        self._parts.metrics.client_gone(self._upstream.name, policy)
        if policy == "stop" or self._progress.done:
            self._decide(How.CLIENT_LEFT)
            return
        self._draining_since_s = monotonic()
        self._parts.draining_exchanges += 1
        self.client_writable()

    def client_writable(self) -> None:
        if self._how is not None:
            return
        if self._connection is not None and self._connection.is_connected():
            self._connection.resume_reading()
        self.body_received()

    # Time.

    def watch(self, now_s: float) -> None:
        """Called once a second: ends what takes too long."""
        if self._how is not None or self._connection is None or self._sent_s == 0.0:
            return
        timeouts = self._upstream.timeouts
        if self._draining_since_s is not None and now_s - self._draining_since_s > self._settings.drains.timeout_s:
            self._decide(How.CLIENT_LEFT)
        elif now_s - self._sent_s > timeouts.total_s:
            self._time_out(f"took longer than {timeouts.total_s:g} s")
        elif self._progress.status is None:
            if now_s - self._sent_s > timeouts.first_byte_s:
                self._time_out(f"did not begin its answer within {timeouts.first_byte_s:g} s")
        elif self._progress.bytes_out != self._last_seen[0]:
            self._last_seen = (self._progress.bytes_out, now_s)
        elif now_s - self._last_seen[1] > timeouts.idle_s:
            if self._client.paused and not self._left:
                self._client.abort()  # it is the client who does not read: it counts as gone
            else:
                self._time_out(f"fell silent for {timeouts.idle_s:g} s")

    def end_now(self) -> None:
        """The drain deadline: books what was delivered, synchronously, and lets go of both sides."""
        self._decide(How.INTERRUPTED)
        self._settle()
        self._client.cut()

    # Steps of the relay.

    def _pass(self, chunk: bytes, *, last: bool) -> bool:
        """Reads a copy, writes the mark that covers the chunk, then the chunk. The last one waits for the record. False if that ended it all."""
        answer, mark_due = self._answer, self._progress.take(chunk)
        assert answer is not None
        if last:
            answer.hold(chunk)
            return True
        if mark_due:
            try:
                self._parts.journal.mark(self._progress.mark(self._opened.id))
            except JournalUnavailable as error:
                LOG.error("an answer is cut because the journal cannot take its mark: %s", error)
                self._decide(How.CUT, error=_journal_unavailable("write its journal", error, "it cuts this answer, which is charged as far as it came"))
                return False
        if not self._left:
            answer.write(chunk)
        return True

    def _answered(self) -> None:
        self._clean = True
        self._decide(How.ANSWERED if self._draining_since_s is None else How.CLIENT_LEFT_DRAINED)

    def _fail_upstream(self, what: str) -> None:
        self._parts.metrics.upstream_error(self._upstream.name, "reset")
        self._decide(self._upstream_ending(), error=self._upstream.failed(what))

    def _time_out(self, what: str) -> None:
        self._parts.metrics.upstream_error(self._upstream.name, "timeout")
        self._decide(self._upstream_ending(), error=self._upstream.timed_out(what))

    def _upstream_ending(self) -> How:
        if self._left:
            return How.CLIENT_LEFT
        return How.NO_HEAD if self._progress.status is None else How.UPSTREAM_CUT

    def _decide(self, how: How, *, error: ProxyError | None = None) -> None:
        """The ending, once and for all; the upstream connection goes back to its pool or is dropped."""
        if self._how is not None:
            return
        self._how = how
        self._error = error
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._clean:
                self._upstream.pool.release(connection)
            else:
                self._upstream.pool.discard(connection)
        if not self._over.done():
            self._over.set_result(None)

    # The end.

    def _settle(self) -> None:
        """What was used becomes the record, and the record is journaled. Nothing here awaits. Idempotent."""
        if self._settled:
            return
        self._settled = True
        parts = self._parts
        parts.exchanges.discard(self)
        if self._how is None:
            self._decide(How.INTERRUPTED)  # only a fault of ours gets here undecided
        if self._draining_since_s is not None:
            parts.draining_exchanges -= 1
        if self._sent_s == 0.0:
            parts.journal.void(Voided(id=self._opened.id, reason="nothing was sent"))
            return
        parts.fail("exchange.settle.before")
        assert self._how is not None
        progress = self._progress
        record = settle(self._opened, progress.ending(self._how), parts.journal.writer)
        parts.journal.close(record)
        parts.fail("exchange.close.after")
        first_byte_s = None if progress.first_byte_s is None else progress.first_byte_s - progress.started_s
        parts.tell(record, monotonic() - progress.started_s, first_byte_s, self._settings.log.requests)

    def _end(self) -> None:
        """Ends the answer: cleanly if the upstream ended it cleanly, visibly cut if not."""
        client = self._client
        if self._left or client.lost:
            return
        if self._error is not None and not client.head_written:
            raise self._error
        if self._answer is None:
            client.cut()
        elif self._clean:
            self._answer.end()
        else:
            self._answer.cut()


def _journal_unavailable(what: str, error: JournalUnavailable, so: str) -> ProxyError:
    return unavailable("journal_unavailable", f"The proxy cannot {what} ({error}), so {so}; the operator has to mend it.")
