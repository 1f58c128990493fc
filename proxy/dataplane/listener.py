"""The listener of the data plane: makes the clients' connections, and ends the late ones.

This file, connection.py and request_loop.py are the only ones on the server side that rely on
aiohttp's semi-private parts (`RequestHandler` and its parser). The version is pinned, and
tests/dataplane/test_listener.py names what an upgrade broke. The documented fallback is web.Server
with StreamResponse.

The reasons for a request loop of our own: no task per request; the response head goes out as it was
written, while StreamResponse alters header fields; and a lost client calls `client_left()`, where
aiohttp would cancel a task that still has a record to write.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.config.settings import TimeoutSettings
from proxy.dataplane.heads import HEADS_MAX, Heads
from proxy.dataplane.request_loop import Handler, RequestLoop


class Listener(web.Server):
    """Makes the connections: `loop.create_server(listener, host, port)`.

    `sweep` is called once a second.
    """

    def __init__(self, handler: Handler, timeouts: TimeoutSettings) -> None:
        super().__init__(_never, handler_cancellation=False)
        self.handler = handler
        self._header_s = timeouts.header_s
        self._stalled_s = timeouts.body_idle_s
        self._keepalive_s = timeouts.keepalive_s
        self._heads = Heads(self._shed)
        self._keeps = True  # connections open behind their answers

    def __call__(self) -> RequestHandler:
        connection = RequestLoop(self, self.handler, self._heads, loop=self._loop)
        if not self._keeps:
            connection.close_after()
        return connection

    @staticmethod
    def waits(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> bool:
        """Whether the connection waits for a request, and its client has taken all answers."""
        return (
            isinstance(protocol, RequestLoop)
            and protocol.waits
            and transport.get_write_buffer_size() == 0
        )

    @staticmethod
    def waits_for_body(_transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> bool:
        """Whether the connection waits for a body of which nothing was sent on yet."""
        return isinstance(protocol, RequestLoop) and protocol.waits_for_body

    def sweep(self, now_s: float) -> None:
        """Ends late request heads, connections whose client has stopped reading, and idle ones.

        The others keep no more than they need.
        """
        for connection, transport in list(self._connections.items()):
            if not isinstance(connection, RequestLoop):
                continue
            if connection.head_overdue(now_s, self._header_s):
                connection.expire()
            elif connection.stalled(transport, now_s, self._stalled_s):
                transport.abort()
            elif connection.idle_overdue(now_s, self._keepalive_s):
                connection.force_close()
            else:
                connection.slim()

    def _shed(self) -> None:
        """Drops the largest unfinished heads, until a quarter of the room is free again."""
        held = [
            (connection.unasked_bytes, number, transport)
            for number, (connection, transport) in enumerate(self._connections.items())
            if isinstance(connection, RequestLoop) and connection.unasked_bytes
        ]
        left = self._heads.size_bytes
        for size_bytes, _, transport in sorted(held, reverse=True):
            if left <= HEADS_MAX * 3 // 4:
                break
            transport.abort()
            left -= size_bytes

    def keep_none(self) -> None:
        """Closes each connection behind its next answer, which says so.

        A client that hears it takes another connection. One that is closed without a word may just
        have sent a request, which is then lost. So an answer that has begun is not the last one.
        """
        self._keeps = False
        for connection in self.connections:
            if isinstance(connection, RequestLoop):
                connection.close_with_notice()

    def leave(self) -> None:
        """Closes idle connections now and the others after the answer they are writing."""
        for connection in self.connections:
            if isinstance(connection, RequestLoop):
                connection.leave()

    def cut(self) -> None:
        """Closes every connection now."""
        for connection in self.connections:
            connection.force_close()


async def _never(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("RequestLoop.start serves requests itself")
