"""One connection to an upstream, read by push: what arrives is handed on in the same turn of the loop.

Relies on aiohttp's semi-private `ResponseHandler` and its parser; see pool.py.
"""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from proxy.core.framing import CHUNKED_END, latest

HEAD_FIELD_MAX = 65536    # bytes of one header line from an upstream; some vendors' CSP lines exceed aiohttp's 8 KiB
READ_BYTES = 32768        # of one read; a loop's own reads are up to eight times as large, and a client that stops reading costs what is read in that moment
READ_BUFFER_BYTES = 65536 # parsed body bytes that may wait for a slow client before the upstream is paused (aiohttp pauses at twice this)


class Receiver(Protocol):
    """What an exchange offers to the connection that works for it. Every call is synchronous and comes from the event loop."""

    def head_received(self, head: RawResponseMessage, body: StreamReader) -> None: ...
    def body_received(self) -> None: ...
    def connection_failed(self, error: BaseException | None) -> None: ...


class UpstreamConnection(ResponseHandler):
    """One connection. Between two exchanges it has no receiver, and any byte that arrives then condemns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.receiver: Receiver | None = None
        self.lease: aiohttp.connector.Connection | None = None  # aiohttp's own handle; kept so that it is not collected
        self.idle_since_s = 0.0
        self.closed_s: float | None = None  # monotonic; when the peer was seen to close it
        self.chunked = False                # whether the latest answer was
        self._received_last = b""           # what arrived last
        self._unread = select.poll()        # asks the kernel what the loop has not read yet

    @property
    def had_trailer(self) -> bool:
        """Whether the latest answer, read to its end, may have left a trailer field in the parser."""
        return self.chunked and self._received_last != CHUNKED_END

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: the peer has neither closed the connection nor sent what the loop has yet to read. About 1 µs."""
        return self.is_connected() and not self.should_close and not self._unread.poll(0)

    def dialled(self, read_into: memoryview) -> None:
        """The connection stands, TLS included: from here on its reads are bounded."""
        transport = self.transport
        assert transport is not None
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        transport.pause_reading()  # a loop looks at the kind of protocol when it begins to read
        transport.set_protocol(_Reads(self, read_into))
        transport.resume_reading()
        self.set_response_params(
            auto_decompress=False, read_until_eof=True, read_timeout=None, read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEAD_FIELD_MAX, max_field_size=HEAD_FIELD_MAX,
        )

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not data:
            return  # resume_reading parses what was held back, in the middle of a read of the receiver's own: it looks again by itself
        self._received_last = latest(self._received_last, data)
        receiver = self.receiver
        if receiver is None:
            if self.lease is not None:
                self.abort()  # an answer nobody asked for: the next exchange must not read it as its own
            return
        while self._buffer:
            (head, body), _ = self._buffer.popleft()
            if head.code == 101 or head.code >= 200:
                self.chunked = head.chunked
                receiver.head_received(head, body)
                break
        if self.receiver is receiver:
            receiver.body_received()

    def eof_received(self) -> None:
        """The peer ends its side. The transport closes itself only later, over TLS a turn of the loop later, and must not be used meanwhile."""
        self.closed_s = monotonic()
        self.force_close()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.closed_s is None:
            self.closed_s = monotonic()
        receiver, self.receiver = self.receiver, None
        super().connection_lost(exc)
        if receiver is not None:
            receiver.connection_failed(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this on every read of a chunk, whether paused or not; each call would parse b"" and enter data_received again.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def send(self, data: bytes) -> None:
        """Writes a request, head and body, in one go."""
        assert self.transport is not None
        self.transport.write(data)


class _Reads(asyncio.BufferedProtocol):
    """Between a transport and its connection, to bound one read. All connections of a loop share `read_into`: from get_buffer to buffer_updated nothing else runs."""

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
