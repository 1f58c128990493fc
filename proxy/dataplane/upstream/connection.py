"""One connection to an upstream: it hands bytes on in the turn of the loop in which they arrive.

Relies on aiohttp's semi-private `ResponseHandler`; see pool.py.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.core.http.response_head import AnswerHead, HeadReader, MalformedAnswer
from proxy.dataplane.upstream.body import Body, ChunkedBody, CountedBody, WholeBody

# of one read; a loop's own reads are up to eight times as large, and a client that stops reading
# costs what is read in that moment
READ_BYTES = 32768
# The same over TLS: all that the layer below may have decrypted. It drops its rest when the
# peer closes without close_notify, as many servers do.
READ_BYTES_TLS = 512 * 1024

_ASKED = select.poll()  # one at a time: its event loop is the only one that asks
# aiohttp's queue of answers, which is never used once a connection is dialled.
_NOTHING: deque[Any] = deque(maxlen=0)

Flow = Callable[[bytes], bytes]  # of a read, framing included; returns what it leaves


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


def _unread(descriptor: int) -> bool:
    """Whether the kernel has something of this socket that the loop has not read yet."""
    _ASKED.register(descriptor, select.POLLIN)
    try:
        return bool(_ASKED.poll(0))
    finally:
        _ASKED.unregister(descriptor)


class UpstreamConnection(ResponseHandler):
    """One connection. Between two exchanges it has no receiver, and any byte condemns it.

    In an exchange there is one final head and one body. More bytes end the connection's reuse and
    nothing else.
    """

    # With these in its dict too, it would have too many names to share them with other instances,
    # and take a kilobyte more.
    __slots__ = (
        "_body",
        "_descriptor",
        "_flow",
        "_heads",
        "_said_goodbye",
        "chunked",
        "closed_s",
        "dialled",
        "idle_since_s",
        "keeper",
        "receiver",
        "tls",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keeper: Keeper,
        read_head: Callable[[bytes], AnswerHead],
    ) -> None:
        super().__init__(loop)
        self.keeper = keeper
        self.receiver: Receiver | None = None  # of the exchange that it serves
        self.dialled = False  # it is open, and its pool's
        self.idle_since_s = 0.0
        self.closed_s: float | None = None  # monotonic; when the peer was seen to close it
        self.chunked = False  # whether the latest answer was
        self.tls = False
        self._said_goodbye = False  # over TLS: close_notify has come
        self._descriptor = -1
        self._heads = HeadReader(read_head)
        self._body: Body | None = None  # once the final head has come
        self._flow: Flow | None = None

    def serve(self, receiver: Receiver | None) -> None:
        """Tells `receiver` from now on what comes; None: nothing may come."""
        self.receiver = receiver
        self._flow = None
        if receiver is None:
            self._body = None

    def flow(self, pass_on: Flow | None) -> None:
        """Gives the chunks of the body to `pass_on` first: the receiver hears of what it leaves.

        It may be given while nothing waits to be read. None: the receiver hears of everything.
        """
        body = self._body
        self._flow = pass_on if body is not None and body.between_chunks else None

    @property
    def truncated(self) -> bool:
        """Whether the end may be forged: over TLS, only close_notify comes from the peer."""
        return self.tls and not self._said_goodbye

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
            and not _unread(self._descriptor)
        )

    @property
    def reusable(self) -> bool:
        """Whether the answer that was just read whole leaves a connection for the next request.

        An answer may come before the upstream has read all of its request: then some of it still
        waits to be sent.
        """
        transport, body = self.transport, self._body
        return (
            transport is not None
            and body is not None
            and body.frees
            and not self._should_close
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    def rest(self, now_s: float) -> None:
        """Its exchange is over: it is idle from now on."""
        self.receiver = self._flow = self._body = None
        self.idle_since_s = now_s

    def give_up(self) -> bool:
        """Its pool has it no longer. False if that was so before."""
        had, self.dialled = self.dialled, False
        return had

    def take(self, lease: aiohttp.connector.Connection, read_into: memoryview) -> None:
        """The connection is open, TLS included: its reads are bounded from here on.

        aiohttp's connector forgets it: its books took half a kilobyte a connection.
        """
        transport = self.transport
        assert transport is not None
        self.dialled = True
        lease.close()
        self._buffer = _NOTHING
        self.tls = transport.get_extra_info("ssl_object") is not None
        self._descriptor = transport.get_extra_info("socket").fileno()
        transport.pause_reading()  # a loop looks at the kind of protocol when it begins to read
        transport.set_protocol(_Reads(self, read_into))
        transport.resume_reading()

    def close(self) -> None:
        # The connector closes what it is given back.
        if not self.dialled:
            super().close()

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            if not self.dialled:
                super().data_received(data)  # an egress proxy's answer
            else:
                # an answer without a request: the next exchange must not read it as its own
                self.abort()
            return
        body = self._body
        if body is None:
            rest = self._read_heads(receiver, data)
            body = self._body
            if rest is None or body is None:
                return
            data = rest
        if self._flow is not None:
            data = self._flow(data)
            if not data:
                return
            self._flow = None  # what it leaves is looked at
        body.keep(body.take(data))
        if body.surplus:
            self.force_close()
        if self.receiver is receiver:
            receiver.body_received()
        if body.fault is not None and self.receiver is receiver:
            self._fail(receiver, body.fault)

    def _read_heads(self, receiver: Receiver, data: bytes) -> bytes | None:
        """Hands on the final head once it is there. Returns the bytes behind it, or None if nothing
        is left to do with them."""
        try:
            while (found := self._heads.take(data)) is not None:
                head, data = found
                if head.code >= 200 or head.code == 101:
                    if head.body_bytes == len(data):
                        self._whole_received(receiver, head, data)
                        return None
                    self._body = body = self._begin(head)
                    receiver.head_received(head, body)
                    return data
        except MalformedAnswer as fault:
            self._fail(receiver, fault)
        return None

    def _whole_received(self, receiver: Receiver, head: AnswerHead, data: bytes) -> None:
        """The answer came in one piece, as most do that are no streams."""
        if head.closes:
            self.force_close()
        self.chunked = False
        self._body = body = WholeBody(self, data)
        receiver.head_received(head, body)
        if self.receiver is receiver:
            receiver.body_received()

    def _fail(self, receiver: Receiver, fault: MalformedAnswer) -> None:
        self.receiver = None
        self.abort()
        receiver.connection_failed(fault)

    def _begin(self, head: AnswerHead) -> Body:
        """The body that follows this head."""
        if head.closes:
            self.force_close()
        self.chunked = head.chunked
        if head.body_bytes is not None:
            return CountedBody(self, head.body_bytes)
        return ChunkedBody(self) if head.chunked else Body(self)

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
            # b"" behind a close_notify.
            return not self.transport.get_extra_info("ssl_object").read(1)
        except ssl.SSLError:
            return False

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.closed_s is None:
            self.closed_s = monotonic()
        receiver, self.receiver = self.receiver, None
        super().connection_lost(exc)
        self._flow = None
        if self._body is not None and exc is None:
            self._body.closed()
        if receiver is not None:
            receiver.connection_failed(exc)

    def pause_reading(self) -> None:
        # Not aiohttp's parser, which reads nothing here.
        if not self._reading_paused:
            self._reading_paused = True
            self._pause_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:
            super().resume_reading(resume_parser=False)

    def send(self, data: bytes) -> None:
        """Writes a request, head and body, in one go, and begins to await its answer."""
        assert self.transport is not None
        receiver = self.receiver
        assert receiver is not None
        self._body = None
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

    __slots__ = ("_connection", "_read_into")

    def __init__(self, connection: UpstreamConnection, read_into: memoryview) -> None:
        self._connection = connection
        self._read_into = read_into

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_into

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._read_into[:nbytes]))

    def eof_received(self) -> None:
        self._connection.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
