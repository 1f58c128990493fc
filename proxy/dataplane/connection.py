"""A client's request, and the connection that its answer is written to, as bytes.

Relies on aiohttp's semi-private `RequestHandler`; see listener.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.utils import formatdate
from typing import Protocol

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.registry import DEFAULT
from proxy.core.errors import ProxyError
from proxy.core.http.cors import page_fields, without_permission
from proxy.core.http.framing import CHUNKED_END, TARGET_MAX
from proxy.core.http.headers import Fields, field_lines, first
from proxy.core.http.request_head import RequestHead
from proxy.core.http.responses import phrase

LOG = logging.getLogger("tollkeeper.listener")

READ_BUFFER_BYTES = 65536
HEADERS_MAX = 128
# bytes of one header line: long enough for large cookies and JWTs, short enough to bound a head
FIELD_MAX = 32768
LINE_MAX = TARGET_MAX + 190  # bytes of the first line, method and version included
Headers = Sequence[tuple[bytes, bytes]]


class Client(Protocol):
    """What works for a connection's request hears of the client through this."""

    def client_left(self) -> None: ...
    def client_writable(self) -> None: ...


class Request:
    """One request as it came: raw target, raw header fields, the body unread.

    `content_length`: of its body, None where the head does not say. `stream`: the body, unless it
    came whole in one piece with its head. `values`: those of the head that differ with each
    request, if it is known again.
    """

    __slots__ = (
        "_whole",
        "connection",
        "content_length",
        "head",
        "headers",
        "http10",
        "method",
        "origin",
        "stream",
        "target",
        "values",
    )

    def __init__(
        self,
        head: RequestHead,
        body: StreamReader | bytes,
        length: int | None,
        connection: Connection,
        values: list[bytes] | None = None,
    ) -> None:
        """`body` as bytes is a whole one, which came in one piece with its head."""
        self.head = head
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.http10 = head.http10
        self.content_length = length
        self.values: list[bytes] = []
        if values is not None:
            self.values = values
            if len(values) > 1:
                self.headers = head.fields(values)
        self._whole: bytes | None = None
        self.stream: StreamReader | None = None
        if isinstance(body, bytes):
            self._whole = body
        else:
            self.stream = body
        self.connection = connection
        # of the page that asks, empty if it may not; None: no pages are served
        self.origin: bytes | None = None

    def read_as(self, headers: Fields, origin: bytes | None) -> None:
        """Its fields are these for who reads it from now on, and this page asks."""
        self.headers = headers
        self.origin = origin

    @property
    def body(self) -> StreamReader:
        """The body as a stream, of what has come and what is to come."""
        if self.stream is None:
            self.stream = self.connection.stream_of(self._whole)
            self._whole = None
        return self.stream

    @property
    def arrived(self) -> bool:
        """Whether all of the body has come, read or not."""
        return self.stream is None or self.stream.is_eof()

    def here(self) -> bytes | None:
        """The whole body, if it has come with its head as nearly all have.

        None if not, and nothing is read.
        """
        stream = self.stream
        if stream is None:
            body, self._whole = self._whole, None
            return body
        if not stream.is_eof() or stream.exception() is not None:
            return None
        self.stream = None
        return stream.read_nowait()

    def was_read(self) -> None:
        """All of its body was read, and nothing is kept of it."""
        self.stream = None

    def confirm_continue(self) -> None:
        """Sends `100 Continue` if the client waits for it before it sends its body."""
        expect = first(self.headers, b"expect")
        if (
            expect is not None
            and expect.strip().lower() == b"100-continue"
            and not self.http10
            and not self.arrived
        ):
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Messages(list[tuple[RawRequestMessage | _ErrInfo, StreamReader]]):
    """What aiohttp queues. A deque takes 600 bytes more, and it is empty nearly always."""

    __slots__ = ()

    def popleft(self) -> tuple[RawRequestMessage | _ErrInfo, StreamReader]:
        """Takes the first one."""
        return self.pop(0)


class Connection(RequestHandler):
    """What answers are written with; `RequestLoop` reads the requests."""

    __slots__ = (
        "_received_last", "_unsent", "client", "closing", "head_written", "last_is_next", "status",
    )  # fmt: skip  # one list

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=0,  # it would take a timer for each; see `RequestLoop.idle_overdue`
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            access_log=None,  # type: ignore[arg-type]  # its own would cost an object
            max_line_size=LINE_MAX,
            max_field_size=FIELD_MAX,
            max_headers=HEADERS_MAX,
        )
        self._messages = Messages()  # type: ignore[assignment]
        self._unsent = (0, 0.0)  # bytes that wait for the client, and since when so many
        self._received_last = b""
        self.client: Client | None = None
        self.closing = False  # close after the answer that is being written
        self.head_written = False  # of the answer that is being written
        self.last_is_next = False  # the next answer is the last one, and its head will say so
        self.status: int | None = None

    def parse_anew(self) -> None:
        """Makes another parser, as aiohttp makes the first. No byte may wait in that one."""
        self._parser = HttpRequestParser(
            self,
            self._loop,
            READ_BUFFER_BYTES,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
            max_line_size=LINE_MAX,
            max_field_size=FIELD_MAX,
            max_headers=HEADERS_MAX,
        )

    def stream_of(self, body: bytes | None) -> StreamReader:
        """A body that is whole, for who reads it as a stream."""
        stream = StreamReader(self, READ_BUFFER_BYTES, loop=self._loop)
        if body:
            stream.feed_data(body)
        stream.feed_eof()
        return stream

    @property
    def paused(self) -> bool:
        """Whether the client reads slower than we write."""
        return self._paused

    @property
    def lost(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    @property
    def peer(self) -> str | None:
        """The address that the connection comes from; None where it has none."""
        name = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) and name else None

    def serve(self, client: Client | None) -> None:
        """Tells `client` from now on when the peer leaves or reads again; None: nobody asks."""
        self.client = client

    def close_after(self) -> None:
        """Closes behind the answer that is being written."""
        self.closing = True

    def close_with_notice(self) -> None:
        """Closes behind the first answer whose head can still say so."""
        if self._request_in_progress and self.status is not None:  # its head is made, or even sent
            self.last_is_next = True
        else:
            self.closing = True

    def head_goes_out(self) -> None:
        """The answer begins: from here on it can be cut, but no other one be sent."""
        self.head_written = True

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def answer_head(self, request: Request, status: int, reason: bytes, lines: bytes) -> bytes:
        """The bytes of a response head. `lines` are its finished field lines, framing included."""
        self.status = status
        if self._received_last != CHUNKED_END and b"transfer-encoding" in request.headers.by_name:
            self.closing = True  # see CHUNKED_END
        if request.origin is not None:
            lines += field_lines(page_fields(request.origin))
        if self.closing:
            lines += b"Connection: close\r\n"
        elif request.http10:
            lines += b"Connection: keep-alive\r\n"
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines)

    def answer(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer of our own (or one relayed whole)."""
        fields = list(headers) if request.origin is None else without_permission(headers)
        if first(fields, b"date") is None:
            fields.append((b"Date", formatdate(usegmt=True).encode()))
        if status != 204:
            fields.append((b"Content-Length", b"%d" % len(body)))
        head = self.answer_head(request, status, phrase(status).encode(), field_lines(fields))
        self.head_written = True
        self.write(head if request.method == "HEAD" else head + body)

    def refuse(
        self,
        request: Request,
        error: ProxyError,
        headers: Headers = (),
        dialect: Dialect = DEFAULT,
    ) -> None:
        """An error in the shape of the dialect, if the answer has not begun."""
        if self.head_written:
            self.cut()
            return
        self.closing = self.closing or error.close or not request.arrived
        fields = [(b"Content-Type", b"application/json"), (b"x-tollkeeper-origin", b"proxy")]
        fields += [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in error.headers
        ]
        self.answer(request, error.status, [*fields, *headers], dialect.error_body(error))

    def cut(self) -> None:
        """Ends the connection so that an answer in progress is seen to be incomplete."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Drops the connection at once, with a reset and without its unsent bytes.

        An answer that ends with its connection looks whole after any other end.
        """
        self.closing = True
        if self.transport is not None:
            self.transport.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.client is not None:
            self.client.client_writable()

    def stalled(self, transport: asyncio.WriteTransport, now_s: float, limit_s: float) -> bool:
        """Whether the client has taken nothing of a finished answer for `limit_s`."""
        unsent = transport.get_write_buffer_size()
        if self.client is not None or unsent == 0 or unsent != self._unsent[0]:
            self._unsent = (unsent, now_s)
        return now_s - self._unsent[1] > limit_s
