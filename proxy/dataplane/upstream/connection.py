"""One connection to an upstream: it hands bytes on in the turn of the loop in which they arrive.

Relies on aiohttp's semi-private `ResponseHandler` and its parser; see pool.py.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from time import monotonic
from typing import Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.core.http.framing import CHUNKED_END, latest
from proxy.core.http.response_head import AnswerHead, HeadReader, MalformedAnswer
from proxy.dataplane.upstream.body import Body, CountedBody

# The heads that the parser sees. An upstream's own is read by one reader alone, HeadReader; the
# parser is there for bodies whose length no head states.
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
# of one read; a loop's own reads are up to eight times as large, and a client that stops reading
# costs what is read in that moment
READ_BYTES = 32768
# The same over TLS: all that the layer below may have decrypted. It drops its rest when the
# peer closes without close_notify, as many servers do.
READ_BYTES_TLS = 512 * 1024
# parsed body bytes that may wait for a slow client before the upstream is paused (aiohttp pauses at
# twice this)
READ_BUFFER_BYTES = 65536


class Receiver(Protocol):
    """An exchange, to the connection that works for it.

    Every call is synchronous and comes from the event loop. `request_sent`: no more of the request
    waits in this process than a transport may hold (64 KiB); it comes at once, or when a slow
    upstream has read on.
    """

    def head_received(self, head: AnswerHead, body: Body) -> None: ...
    def body_received(self) -> None: ...
    def request_sent(self) -> None: ...
    def connection_failed(self, error: BaseException | None) -> None: ...


class Keeper(Protocol):
    """Where a connection goes when its exchange is over: its pool."""

    def release(self, connection: UpstreamConnection) -> None: ...
    def discard(self, connection: UpstreamConnection) -> None: ...


class UpstreamConnection(ResponseHandler):
    """One connection. Between two exchanges it has no receiver, and any byte condemns it.

    In an exchange there is one final head and one body. More bytes end the connection's reuse and
    nothing else.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, keeper: Keeper) -> None:
        super().__init__(loop)
        self.keeper = keeper
        self.receiver: Receiver | None = None  # of the exchange that it serves
        # aiohttp's own handle; kept so that it is not collected
        self.lease: aiohttp.connector.Connection | None = None
        self.idle_since_s = 0.0
        self.closed_s: float | None = None  # monotonic; when the peer was seen to close it
        self.chunked = False  # whether the latest answer was
        self.tls = False
        self._said_goodbye = False  # over TLS: close_notify has come
        self._received_last = b""  # of a chunked body
        self._unread = select.poll()  # asks the kernel what the loop has not read yet
        self._heads = HeadReader()
        self._awaits_head = False  # until the final one has come
        self._counted: CountedBody | None = None  # the body, if the head states its length
        self._parsed: Body | None = None  # the body, if the parser reads it

    def serve(self, receiver: Receiver | None) -> None:
        """Tells `receiver` from now on what comes; None: nothing may come."""
        self.receiver = receiver
        if receiver is None:
            self._counted = self._parsed = None

    @property
    def truncated(self) -> bool:
        """Whether the end may be forged: over TLS, only close_notify comes from the peer."""
        return self.tls and not self._said_goodbye

    @property
    def had_trailer(self) -> bool:
        """Whether the latest whole answer may have left a trailer field in the parser."""
        return self.chunked and self._received_last != CHUNKED_END

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: the peer has neither closed it nor sent unread bytes.

        Takes about 1 µs. It is asked of connections that were `reusable` and are idle since: what
        comes there is no part of an answer, so that only a close can have happened.
        """
        transport = self.transport
        return (
            transport is not None
            and not self._should_close
            and not transport.is_closing()
            and not self._unread.poll(0)
        )

    @property
    def reusable(self) -> bool:
        """Whether the answer that was just read whole leaves a connection for the next request.

        An answer may come before the upstream has read all of its request: then some of it still
        waits to be sent.
        """
        transport = self.transport
        return (
            transport is not None
            and not self.should_close
            and not self.had_trailer
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    def rest(self, now_s: float) -> None:
        """Its exchange is over: it is idle from now on."""
        self.receiver = self._counted = self._parsed = None
        self.idle_since_s = now_s

    def give_up(self) -> bool:
        """Gives aiohttp's handle back. False if that was done before."""
        lease, self.lease = self.lease, None
        if lease is None:
            return False
        lease.close()
        return True

    def dialled(self, lease: aiohttp.connector.Connection, read_into: memoryview) -> None:
        """The connection is open, TLS included: its reads are bounded from here on."""
        self.lease = lease
        transport = self.transport
        assert transport is not None
        self.tls = transport.get_extra_info("ssl_object") is not None
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        transport.pause_reading()  # a loop looks at the kind of protocol when it begins to read
        transport.set_protocol(_Reads(self, read_into))
        transport.resume_reading()
        self.set_response_params(
            auto_decompress=False,
            read_until_eof=True,
            read_timeout=None,
            read_bufsize=READ_BUFFER_BYTES,
        )

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            if self.lease is None:
                super().data_received(data)  # an egress proxy's answer
            else:
                # an answer without a request: the next exchange must not read it as its own
                self.abort()
            return
        if self._awaits_head:
            data = self._read_heads(receiver, data)
        if self._counted is not None:
            if not self._counted.feed(data):
                self.force_close()
        elif self._parsed is not None and data:
            self._parse(self._parsed, data)
        if self.receiver is receiver and not self._awaits_head:
            receiver.body_received()

    def _read_heads(self, receiver: Receiver, data: bytes) -> bytes:
        """Hands on the final head once it is there. Returns the bytes behind it."""
        try:
            while (found := self._heads.take(data)) is not None:
                head, data = found
                if head.code >= 200 or head.code == 101:
                    self._awaits_head = False
                    receiver.head_received(head, self._begin(head))
                    return data
        except MalformedAnswer as fault:
            self.receiver = None
            self.abort()
            receiver.connection_failed(fault)
        return b""

    def _begin(self, head: AnswerHead) -> Body:
        """The body that follows this head."""
        if head.closes:
            self.force_close()
        self.chunked = head.chunked
        if head.body_bytes is not None:
            self._counted = CountedBody(self, head.body_bytes)
            return self._counted
        self._received_last = b"\r\n"
        super().data_received(CHUNKED_HEAD if head.chunked else UNTIL_CLOSE_HEAD)
        (_, body), _ = self._buffer.popleft()
        self._parsed = body
        return body

    def _parse(self, body: Body, data: bytes) -> None:
        """Gives the parser the bytes of the body. What comes behind it is not read."""
        if body.is_eof():
            self.force_close()
        else:
            self._received_last = latest(self._received_last, data)
            super().data_received(data)

    def eof_received(self) -> None:
        """The peer ends its side, and the connection must not be used any more.

        The transport closes itself later; over TLS, a turn of the loop later.
        """
        self.closed_s = monotonic()
        self.force_close()
        if self.tls:
            self._said_goodbye = self._close_notify()
        super().eof_received()

    def _close_notify(self) -> bool:
        """Whether TLS itself ended the connection.

        asyncio reports a bare FIN in the same way; uvloop does not report it at all.
        """
        assert self.transport is not None
        try:
            return not self.transport.get_extra_info("ssl_object").read(
                1
            )  # b"" behind a close_notify
        except ssl.SSLError:
            return False

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.closed_s is None:
            self.closed_s = monotonic()
        receiver, self.receiver = self.receiver, None
        super().connection_lost(exc)
        if receiver is not None:
            receiver.connection_failed(exc)

    def pause_reading(self) -> None:
        # Not the parser: it holds no more than one read, and cannot pause without a body.
        if not self._reading_paused:
            self._reading_paused = True
            self._pause_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this on every read of a chunk, whether paused or not; each call would parse
        # b"" and enter data_received again.
        if self._reading_paused:
            super().resume_reading(resume_parser=False)

    def send(self, data: bytes) -> None:
        """Writes a request, head and body, in one go, and begins to await its answer."""
        assert self.transport is not None
        receiver = self.receiver
        assert receiver is not None
        self._awaits_head = True
        self._counted = self._parsed = None
        self.transport.write(data)
        if not self._paused:
            receiver.request_sent()

    async def send_more(self, data: bytes) -> None:
        """Writes more of a request's body, then waits until the upstream has read most of it.
        Raises OSError if the connection is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        transport.write(data)
        await self._drain_helper()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.receiver is not None:
            self.receiver.request_sent()


class _Reads(asyncio.BufferedProtocol):
    """Bounds one read of a connection. All connections of a loop share `read_into`.

    Between get_buffer and buffer_updated nothing else runs.
    """

    def __init__(self, connection: UpstreamConnection, read_into: memoryview) -> None:
        self._connection = connection
        self._read_into = read_into
        self.eof_received = connection.eof_received  # type: ignore[method-assign]
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_into

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._read_into[:nbytes]))
