"""The requests of one client's connection: read one at a time, and answered in their order.

Relies on aiohttp's semi-private `RequestHandler` and its parser; see listener.py. A request whose
head the connection has brought before, byte for byte, goes past the parser (`_taken_whole`).
"""

from __future__ import annotations

import asyncio
import logging
from itertools import chain
from time import monotonic
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from proxy.core.dialects.registry import DEFAULT
from proxy.core.errors import ProxyError
from proxy.core.http.framing import TARGET_MAX, check_framing, latest
from proxy.core.http.headers import first
from proxy.core.http.request_head import RequestHead
from proxy.core.http.responses import head_too_large, late_head, malformed, plain_error
from proxy.dataplane.connection import FIELD_MAX, HEADERS_MAX, Connection, Request
from proxy.dataplane.heads import HEAD_MAX, Heads

LOG = logging.getLogger("tollkeeper.listener")

# A refused client gets so much time to read the refusal; what it still sends is dropped.
LINGER_S = 5.0
LINGER_BYTES_MAX = 64 << 20


class Handler(Protocol):
    """Answers requests, and hears of those that were refused before they could be read."""

    async def handle(self, request: Request) -> None: ...
    def refused_unread(self, error: ProxyError) -> None: ...


class RequestLoop(Connection):
    """Runs the requests of one connection through the handler."""

    __slots__ = (
        "_arriving",
        "_dropped_bytes",
        "_gone",
        "_handler",
        "_head",
        "_head_bytes",
        "_head_since_s",
        "_heads",
        "_idle_since_s",
        "_left_bytes",
        "_next",
        "_request",
        "unasked_bytes",
    )

    def __init__(
        self,
        manager: web.Server,
        handler: Handler,
        heads: Heads,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(manager, loop=loop)
        self._handler = handler
        self._head_since_s = monotonic()
        self._idle_since_s = 0.0  # the end of the last answer
        self._head_bytes = 0  # of a head that is not whole yet
        self._heads = heads
        # about how much is held of it, and of bytes behind a whole request
        self.unasked_bytes = 0
        # The body of the request that came last, while it is not whole.
        self._arriving: StreamReader | None = None
        self._request: Request | None = None  # that is answered now
        # Of the request that came last its body's bytes that are still to come: at 0 the parser is
        # exactly between two requests. None: it cannot be told.
        self._left_bytes: int | None = 0
        self._head = heads.guess()  # that is known again by its bytes
        # The request that is served next, before all those in aiohttp's queue.
        self._next: Request | None = None
        # while lingering: done when the client is gone
        self._gone: asyncio.Future[None] | None = None
        self._dropped_bytes = 0

    @property
    def waits(self) -> bool:
        """Whether there is no request to answer."""
        return not self._request_in_progress and self._next is None and not self._messages

    @property
    def waits_for_body(self) -> bool:
        """Whether the body of the current request is not whole, so that nothing works for it."""
        return self._request is not None and not self._request.arrived and self.client is None

    # What aiohttp calls.

    def data_received(self, data: bytes) -> None:
        if self._gone is not None:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES_MAX:
                self.force_close()
            return
        if self._head_bytes > HEAD_MAX:
            return  # it is refused already
        between = self._left_bytes == 0 and self._next is None and not self._messages
        if between and self._taken_whole(data):
            return
        self._received_last = latest(self._received_last, data)
        count_before = self._request_count
        in_head = self._arriving is None
        if self._parser is None:
            if not data:
                return
            self.parse_anew()
        super().data_received(data)
        if self._request_count != count_before:
            message, body = self._messages[-1]
            self._arriving = None if body.is_eof() else body
            self._head_arrived(0, behind_bytes=_behind(data, body))
            one = between and self._request_count == count_before + 1
            self._left_bytes = self._began(data, message, body) if one else None
        elif in_head and data:
            self._left_bytes = None
            self._head_arrived(self._head_bytes + len(data))
            if self._head_bytes > HEAD_MAX:
                self._fail(_ErrInfo(status=431, exc=LineTooLong(b"", HEAD_MAX), message="head"))
        elif self._left_bytes is not None:
            left_bytes = self._left_bytes - len(data)
            self._left_bytes = left_bytes if left_bytes >= 0 else None
        if self._arriving is not None and self._arriving.is_eof():
            self._arriving = None
        if data and self._head_since_s == 0.0 and self._waiter is not None and self.waits:
            self._head_since_s = monotonic()

    def _taken_whole(self, data: bytes) -> bool:
        """Takes a whole request whose head this connection has read before, without the parser.

        It halves what a request costs up to the gateway. False: nothing is taken.
        """
        head = self._head
        if head is None or self._close or (found := head.read(data)) is None:
            return False
        length, start, values = found
        if len(data) - start != length:
            return False
        self._next = Request(head, data[start:], length, self, values)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def _began(
        self, data: bytes, message: RawRequestMessage | _ErrInfo, body: StreamReader
    ) -> int | None:
        """How many bytes of a request's body are still to come, if the request begins with `data`.

        None where that cannot be told exactly. Its head is kept if it can be known again.
        """
        known, self._head = self._head, None
        if isinstance(message, _ErrInfo) or message.upgrade or message.should_close:
            return None
        if body is EMPTY_PAYLOAD:
            return 0 if data.find(b"\r\n\r\n") == len(data) - 4 else None
        head, found = known, None if known is None else known.read(data)
        if head is None or found is None:  # else its body comes apart from it
            head = RequestHead(message.method, message.path, message.version, message.raw_headers)
            found = head.learn(data)
            if found is None:
                return None
            head = self._heads.same(head)
        length, start, values = found
        here_bytes = len(data) - start
        if body.total_bytes != here_bytes or here_bytes > length:
            return None
        self._head = head
        self._next = Request(head, body, length, self, values)
        self._messages.pop()
        if self._parser is not None:
            self._parser.message_consumed()
        return length - here_bytes

    def _head_arrived(self, size_bytes: int, *, behind_bytes: int = 0) -> None:
        """Counts the bytes of a head that is not whole, or that came behind a whole request."""
        self._head_bytes = size_bytes
        if size_bytes + behind_bytes != self.unasked_bytes:
            self._heads.change(size_bytes + behind_bytes - self.unasked_bytes)
            self.unasked_bytes = size_bytes + behind_bytes

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._head = None  # a credential is in it
        self._head_arrived(0)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        body = None if self._request is None else self._request.stream
        if body is not None and not body.is_eof():
            body.set_exception(ConnectionResetError("the client left"))
        if self.client is not None:
            self.client.client_left()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp calls this on every read, paused or not
            super().resume_reading(resume_parser)

    async def start(self) -> None:
        """The request loop: one task for the connection's life.

        Only the end of the process cancels it.
        """
        try:
            while not self._force_close and not self._close:
                if self._next is None and not self._messages and not await self._next_message():
                    break
                self._head_since_s = 0.0
                request = self._take()
                if isinstance(request, _ErrInfo):
                    self._refuse_malformed(request)
                    await self._linger()
                    break
                await self._serve(request)
                if self.closing or self.transport is None:
                    break
                self._idle_since_s = monotonic()
                if self._messages or self._next is not None:
                    # Requests that wait for nothing would be served in one go, before all others.
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            pass  # the process ends, and each exchange has written its record
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def _take(self) -> Request | _ErrInfo:
        """The next request. Its body is nowhere else, so that it lasts no longer than its reader
        needs it."""
        request, self._next = self._next, None
        if request is not None:
            return request
        message, body = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        if isinstance(message, _ErrInfo):
            return message
        head = self._read(message)
        return Request(head, body, head.content_length, self)

    def head_overdue(self, now_s: float, header_s: float) -> bool:
        """Whether a request head began, or a new connection came, longer than `header_s` ago."""
        return self._head_since_s != 0.0 and now_s - self._head_since_s > header_s

    def idle_overdue(self, now_s: float, keepalive_s: float) -> bool:
        """Whether it has waited longer than `keepalive_s` for a request, and none has begun.

        The first request, and what remains of a head, have their own time: see `head_overdue`.
        """
        waiter = self._waiter
        return (
            self._head_since_s == 0.0
            and now_s - self._idle_since_s > keepalive_s
            and waiter is not None
            and not waiter.done()
        )

    def slim(self) -> None:
        """Drops the parser if no byte of a request is in it.

        It takes 3 kB. A stream may last, and what comes behind
        it needs no parser mostly.
        """
        if (
            self._left_bytes == 0
            and self._arriving is None
            and self._next is None
            and not self._messages
            and not self._reading_paused
        ):
            self._parser = None

    def expire(self) -> None:
        """Refuses a head that did not arrive in time, as it refuses a malformed one."""
        if self._waiter is not None and not self._waiter.done():
            self._fail(_ErrInfo(status=408, exc=TimeoutError(), message="late"))

    def _fail(self, fault: _ErrInfo) -> None:
        """Answers a head that cannot be taken, behind the requests that came before it."""
        self._messages.append((fault, EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """For a shutdown: closes an idle connection, and a busy one after its answer."""
        self.closing = True
        if self._waiter is not None:
            self.close()

    async def _next_message(self) -> bool:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            if self._force_close or self._close:
                return False  # closed while idle: aiohttp cancels the waiter to say so
            raise
        finally:
            self._waiter = None
        return not self.waits

    def _read(self, message: RawRequestMessage) -> RequestHead:
        # The parser hides the bytes behind a WebSocket handshake: to it they are no HTTP.
        self.closing = (
            self.closing
            or message.should_close
            or (
                message.upgrade
                and b"websocket" in (first(message.raw_headers, b"upgrade") or b"").lower()
            )
        )
        return RequestHead(message.method, message.path, message.version, message.raw_headers)

    async def _serve(self, request: Request) -> None:
        head = request.head
        self._request = request
        self.head_written = False
        self.closing = self.closing or self.last_is_next
        self.status = None
        self._request_in_progress = True
        try:
            if head.known is None:  # else this was found to be in order
                if sum(map(len, chain.from_iterable(request.headers))) > HEAD_MAX:
                    raise head_too_large(HEADERS_MAX, FIELD_MAX, TARGET_MAX, HEAD_MAX)
                check_framing(request.method, request.target, head.version, request.headers)
            await self._handler.handle(request)
        except ProxyError as error:
            self.refuse(request, error)
            self._handler.refused_unread(error)
        except Exception:  # a bug of ours: the log gets the traceback, the client an answer
            LOG.exception("a request failed by a fault of the proxy")
            self.refuse(
                request,
                ProxyError(
                    500,
                    "api_error",
                    "internal_error",
                    "The proxy failed; its log says how. Try again.",
                    close=True,
                ),
            )
        finally:
            self.serve(None)
            self._request = None
            self._request_in_progress = False
        if head.known is None:
            self._head = None  # nobody's whom we know: nothing of it is kept
        if not request.arrived:
            self.closing = True
            await self._linger()

    async def _linger(self) -> None:
        """Ends our side, and drops what the client still sends.

        Closing at once would reset the connection and destroy the answer on its way.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._gone = self._loop.create_future()
        transport.resume_reading()  # the rest of a body may have been held back
        transport.write_eof()
        await asyncio.wait([self._gone], timeout=LINGER_S)

    def _refuse_malformed(self, fault: _ErrInfo) -> None:
        """Refuses a head without the parser's message: it quotes a line that may hold a key."""
        if isinstance(fault.exc, LineTooLong) or "Too many headers" in str(fault.message):
            error = head_too_large(HEADERS_MAX, FIELD_MAX, TARGET_MAX, HEAD_MAX)
        else:
            error = late_head() if fault.status == 408 else malformed()
        self.write(plain_error(error, DEFAULT.error_body(error)))
        self._handler.refused_unread(error)


def _behind(data: bytes, body: StreamReader) -> int:
    """The bytes that came behind a whole request, in one piece with its head.

    None came behind a body that is not whole. A chunked body makes the figure a little too high.
    """
    if not body.is_eof():
        return 0
    body_bytes: int = 0 if body is EMPTY_PAYLOAD else body.total_bytes
    return max(0, len(data) - data.rfind(b"\r\n\r\n") - 4 - body_bytes)
