"""A client's connection: one request at a time, answers written as bytes.

Relies on aiohttp's semi-private `RequestHandler` and its parser; see listener.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from email.utils import formatdate
from time import monotonic
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy.core.errors import ProxyError
from proxy.core.http.framing import CHUNKED_END, TARGET_MAX, check_framing, latest
from proxy.core.http.headers import Fields, first
from proxy.core.http.responses import head_too_large, late_head, malformed, phrase, plain_error

LOG = logging.getLogger("tollkeeper.listener")

# how long what a refused client still sends is dropped, so that it gets to read the refusal
LINGER_S = 5.0
LINGER_BYTES_MAX = 64 << 20  # and how much of it
READ_BUFFER_BYTES = 65536
HEADERS_MAX = 128
HEAD_MAX = 65536  # bytes of a whole head, which nobody has to have a key for
HEADS_MAX = 16 << 20  # bytes of all heads that are not whole: of usual ones ten thousand
# bytes of one header line: long enough for large cookies and JWTs, short enough to bound a head
FIELD_MAX = 32768
Headers = Sequence[tuple[bytes, bytes]]


class Client(Protocol):
    """Whoever answers on a connection right now hears of the client through this."""

    def client_left(self) -> None: ...
    def client_writable(self) -> None: ...


class Request:
    """One request as it came: raw target, raw header fields, the body unread."""

    __slots__ = ("body", "connection", "headers", "http10", "method", "target")

    def __init__(
        self, message: RawRequestMessage, body: StreamReader, connection: Connection
    ) -> None:
        self.method = message.method
        self.target = message.path
        self.headers = Fields(message.raw_headers)
        self.http10 = message.version < (1, 1)
        self.body = body
        self.connection = connection

    @property
    def content_length(self) -> int | None:
        value = first(self.headers, b"content-length")
        return int(value) if value is not None and value.isdigit() else None

    def confirm_continue(self) -> None:
        """Sends `100 Continue` if the client waits for it; only now does it begin to send its
        body."""
        expect = first(self.headers, b"expect")
        if (
            expect is not None
            and expect.strip().lower() == b"100-continue"
            and not self.http10
            and not self.body.is_eof()
        ):
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Handler(Protocol):
    """Who answers requests, and who hears of those that were refused before anyone could read
    them."""

    async def handle(self, request: Request) -> None: ...
    def refused_unread(self, error: ProxyError) -> None: ...


class Heads:
    """The bytes of all heads that are not whole, which nobody has to have a key for. `shed` is
    called where they are too many."""

    def __init__(self, shed: Callable[[], None]) -> None:
        self.size_bytes = 0
        self._shed = shed

    def change(self, by_bytes: int) -> None:
        self.size_bytes += by_bytes
        if by_bytes > 0 and self.size_bytes > HEADS_MAX:
            self._shed()


class Connection(RequestHandler):
    """A client's connection: runs the request loop and writes answers."""

    __slots__ = (
        "_arriving",
        "_body",
        "_dropped_bytes",
        "_gone",
        "_handler",
        "_head_bytes",
        "_head_since_s",
        "_heads",
        "_received_last",
        "_unsent",
        "client",
        "closing",
        "head_written",
        "status",
        "unasked_bytes",
    )

    def __init__(
        self,
        manager: web.Server,
        handler: Handler,
        heads: Heads,
        *,
        loop: asyncio.AbstractEventLoop,
        keepalive_s: float,
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=keepalive_s,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=TARGET_MAX + 190,
            max_field_size=FIELD_MAX,
            max_headers=HEADERS_MAX,
        )
        self._handler = handler
        self._unsent = (0, 0.0)  # bytes that wait for the client, and since when so many
        self._head_since_s = monotonic()
        self._head_bytes = 0  # of a head that is not whole yet
        self._heads = heads
        self.unasked_bytes = (
            0  # about how much is held of it, and of what came behind a whole request
        )
        self._arriving: StreamReader | None = None  # the body of the request that came last
        self._body: StreamReader | None = None
        self._gone: asyncio.Future[None] | None = (
            None  # while lingering: done when the client is gone
        )
        self._dropped_bytes = 0
        self._received_last = b""
        self.client: Client | None = None
        self.closing = False  # close after the answer that is being written
        self.head_written = False  # of the answer that is being written
        self.status: int | None = None

    # What an answer is written with.

    @property
    def paused(self) -> bool:
        """Whether the client reads slower than we write."""
        return self._paused

    @property
    def waits(self) -> bool:
        """Whether no request is being answered, nor is there one to be."""
        return not self._request_in_progress and not self._messages

    @property
    def waits_for_body(self) -> bool:
        """Whether the request at hand is not whole yet, so that nobody works for it."""
        return self._body is not None and not self._body.is_eof() and self.client is None

    @property
    def lost(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def answer_head(
        self, request: Request, status: int, reason: str, headers: Headers, framing: bytes
    ) -> bytes:
        """The bytes of a response head. `framing` is the finished framing field line(s), or empty
        for an answer without a body."""
        self.status = status
        if (
            self._received_last != CHUNKED_END
            and first(request.headers, b"transfer-encoding") is not None
        ):
            self.closing = True  # see CHUNKED_END
        parts = [b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("utf-8", "surrogateescape"))]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(framing)
        if self.closing:
            parts.append(b"Connection: close\r\n")
        elif request.http10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def answer(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer of our own (or one relayed whole)."""
        fields = list(headers)
        if first(fields, b"date") is None:
            fields.append((b"Date", formatdate(usegmt=True).encode()))
        head = self.answer_head(
            request, status, phrase(status), fields, b"Content-Length: %d\r\n" % len(body)
        )
        self.head_written = True
        self.write(head if request.method == "HEAD" else head + body)

    def refuse(self, request: Request, error: ProxyError, headers: Headers = ()) -> None:
        """An error in the OpenAI shape, if the answer has not begun."""
        if self.head_written:
            self.cut()
            return
        self.closing = self.closing or error.close or not request.body.is_eof()
        fields = [(b"Content-Type", b"application/json"), (b"x-tollkeeper-origin", b"proxy")]
        fields += [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in error.headers
        ]
        self.answer(request, error.status, [*fields, *headers], error.body())

    def cut(self) -> None:
        """Ends the connection so that an answer in progress is seen to be incomplete: never a clean
        end after a cut upstream."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Drops the connection at once, unsent bytes included. For an answer whose end is the end
        of the connection, only a reset looks cut."""
        self.closing = True
        if self.transport is not None:
            self.transport.abort()

    # What aiohttp calls.

    def data_received(self, data: bytes) -> None:
        if self._gone is not None:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES_MAX:
                self.force_close()
            return
        if self._head_bytes > HEAD_MAX:
            return  # it is refused already
        self._received_last = latest(self._received_last, data)
        known = self._request_count
        in_head = self._arriving is None or self._arriving.is_eof()
        super().data_received(data)
        if self._request_count != known:
            self._arriving = self._messages[-1][1]
            self._head_arrived(0, behind_bytes=_behind(data, self._arriving))
        elif in_head and data:
            self._head_arrived(self._head_bytes + len(data))
            if self._head_bytes > HEAD_MAX:
                self._fail(_ErrInfo(status=431, exc=LineTooLong(b"", HEAD_MAX), message="head"))
        if data and self._waiter is not None and not self._messages and self._head_since_s == 0.0:
            self._head_since_s = monotonic()

    def _head_arrived(self, size_bytes: int, *, behind_bytes: int = 0) -> None:
        """So much of a head is here that is not whole; `behind_bytes` of the next one came with a
        whole request."""
        self._head_bytes = size_bytes
        if size_bytes + behind_bytes != self.unasked_bytes:
            self._heads.change(size_bytes + behind_bytes - self.unasked_bytes)
            self.unasked_bytes = size_bytes + behind_bytes

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._head_arrived(0)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(ConnectionResetError("the client left"))
        if self.client is not None:
            self.client.client_left()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.client is not None:
            self.client.client_writable()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp calls this on every read, paused or not
            super().resume_reading(resume_parser)

    async def start(self) -> None:
        """The request loop. Runs as one task for the connection's life; only the end of the process
        cancels it."""
        try:
            while not self._force_close and not self._close:
                if not self._messages and not await self._next_message():
                    break
                message, body = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                self._head_since_s = 0.0
                if isinstance(message, _ErrInfo):
                    self._refuse_malformed(message)
                    await self._linger()
                    break
                await self._serve(message, body)
                if self.closing or self.transport is None:
                    break
                self._idle()
                if self._messages:
                    await asyncio.sleep(
                        0
                    )  # requests that need not wait for anything would else be served in one go, before anybody else's
        except asyncio.CancelledError:
            pass  # the process ends; whoever had a record to write has written it
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def head_overdue(self, now_s: float, header_s: float) -> bool:
        """Whether a request head was begun (or, on a new connection, awaited) longer than
        `header_s` ago."""
        return self._head_since_s != 0.0 and now_s - self._head_since_s > header_s

    def expire(self) -> None:
        """Ends a connection whose request head did not arrive in time, by the way that a malformed
        one takes."""
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
        return bool(self._messages)

    async def _serve(self, message: RawRequestMessage, body: StreamReader) -> None:
        request = Request(message, body, self)
        self._body = body
        # What follows a WebSocket handshake the parser takes for another protocol and never shows
        # us.
        self.closing = (
            self.closing
            or message.should_close
            or (
                message.upgrade
                and b"websocket" in (first(message.raw_headers, b"upgrade") or b"").lower()
            )
        )
        self.head_written = False
        self.status = None
        self._request_in_progress = True
        try:
            if sum(len(name) + len(value) for name, value in request.headers) > HEAD_MAX:
                raise head_too_large(HEADERS_MAX, FIELD_MAX, TARGET_MAX, HEAD_MAX)
            check_framing(request.method, request.target, message.version, request.headers)
            await self._handler.handle(request)
        except ProxyError as error:
            self.refuse(request, error)
            self._handler.refused_unread(error)
        except Exception:  # a bug of ours: the client gets an answer, the log gets the traceback, the next request gets served
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
            self.client = None
            self._body = None
            self._request_in_progress = False
        if not body.is_eof():
            self.closing = True
            await self._linger()

    async def _linger(self) -> None:
        """Ends our side and drops what the client still sends: closing at once would reset the
        connection and destroy the answer on its way."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._gone = self._loop.create_future()
        transport.resume_reading()  # the rest of a body may have been held back
        transport.write_eof()
        await asyncio.wait([self._gone], timeout=LINGER_S)

    def _idle(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    def _refuse_malformed(self, fault: _ErrInfo) -> None:
        """The parser's own message quotes the offending line, which may hold a credential: it goes
        nowhere."""
        if isinstance(fault.exc, LineTooLong) or "Too many headers" in str(fault.message):
            error = head_too_large(HEADERS_MAX, FIELD_MAX, TARGET_MAX, HEAD_MAX)
        else:
            error = late_head() if fault.status == 408 else malformed()
        self.write(plain_error(error))
        self._handler.refused_unread(error)

    def stalled(self, transport: asyncio.WriteTransport, now_s: float, limit_s: float) -> bool:
        """Whether an answer that nobody works on any more waits in vain for its client to read:
        nothing of it has moved for `limit_s`."""
        unsent = transport.get_write_buffer_size()
        if self.client is not None or unsent == 0 or unsent != self._unsent[0]:
            self._unsent = (unsent, now_s)
        return now_s - self._unsent[1] > limit_s


def _behind(data: bytes, body: StreamReader) -> int:
    """How many bytes came behind a whole request in one piece with its head; of a body that is not
    whole, none.

    Of a chunked one it says a little too much.
    """
    if not body.is_eof():
        return 0
    body_bytes: int = 0 if body is EMPTY_PAYLOAD else body.total_bytes
    return max(0, len(data) - data.rfind(b"\r\n\r\n") - 4 - body_bytes)
