"""Connections to one upstream: dialled by aiohttp's connector and kept by us in a LIFO.

Relies, as connection.py does, on aiohttp's semi-private parts (`TCPConnector._factory`,
`ClientRequest`); the version is pinned and tests/dataplane/upstream/test_pool.py names what broke.
The documented fallback is ClientSession.request with auto_decompress=False.

Why not ClientSession: the journal entry must lie between "connection in hand" and "first byte out",
the request head must go out as it came in, and a stream must not cost a task switch per chunk.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from functools import partial
from time import monotonic

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.core.http.known_heads import KnownHeads
from proxy.dataplane.upstream.connection import (
    READ_BYTES,
    READ_BYTES_TLS,
    Keeper,
    UpstreamConnection,
)
from proxy.dataplane.upstream.reuse import Reuse


class ConnectError(Exception):
    """No connection could be opened, so nothing was sent.

    `kind` is a metric label: connect, tls, dns, timeout, pool or proxy.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _connection(
    loop: asyncio.AbstractEventLoop, keeper: Keeper, heads: KnownHeads
) -> ResponseHandler:
    return UpstreamConnection(loop, keeper, heads.read)


class _Dialer(aiohttp.TCPConnector):
    """aiohttp's connector (DNS, happy eyeballs, TLS, proxies), without a pool of its own."""

    def __init__(self, context: ssl.SSLContext | bool, keeper: Keeper, heads: KnownHeads) -> None:
        super().__init__(limit=0, ssl=context, force_close=True)
        self._factory = partial(_connection, self._loop, keeper, heads)


class Pool:
    """The connections of one upstream, most recently used first.

    `connections_max` bounds those in use and idle together; beyond it `acquire` waits `pool_s`.
    Idle ones are dropped after `keepalive_s`, below the 5 s at which uvicorn and Node close: a POST
    on a connection that the peer is closing cannot be sent again. For the same reason the kernel is
    asked before each reuse, and an upstream must first be seen to keep its connections open
    (reuse.py).
    """

    def __init__(
        self,
        base_url: str,
        *,
        connections_max: int,
        connect_s: float,
        pool_s: float,
        keepalive_s: float,
        context: ssl.SSLContext | bool = True,
        proxy: str | None = None,
    ) -> None:
        self._url = URL(base_url)
        self._proxy = URL(proxy).with_user(None) if proxy else None
        self._proxy_authorization = proxy_authorization(proxy) if proxy else None
        self._connections_max = connections_max
        self._connect_s = connect_s
        self._pool_s = pool_s
        self._keepalive_s = keepalive_s
        self._context = context
        self._session: aiohttp.ClientSession | None = None
        self._idle: list[UpstreamConnection] = []
        self._read_into = memoryview(
            bytearray(READ_BYTES_TLS if self._url.scheme == "https" else READ_BYTES)
        )
        self._heads = KnownHeads()  # of the answers on all of its connections
        self._reuse = Reuse()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open = 0

    @property
    def in_use(self) -> int:
        return self._open - len(self._idle)

    async def acquire(self) -> UpstreamConnection:
        """A connection that is open now. Raises ConnectError; nothing was sent then."""
        while True:
            connection = self.take_idle()
            if connection is not None:
                return connection
            if self._open >= self._connections_max and self._idle:
                self.discard(self._idle.pop(0))  # it still rests, and there is no room for another
            if self._open < self._connections_max:
                break
            await self._wait_for_place()
        self._open += 1
        try:
            return await self._dial()
        except BaseException:
            self._leave()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        """Takes a connection back after a whole answer; closes it if it cannot be used again."""
        if self._session is None or not connection.reusable:
            self.discard(connection)
            return
        if self._idle and not self._reuse.at_once(connection.chunked):
            # One at rest is enough to learn from, and servers with few threads spend one on each.
            self.discard(connection)
            return
        connection.rest(monotonic())
        self._idle.append(connection)
        if self._waiting:
            self._wake_one()

    def discard(self, connection: UpstreamConnection) -> None:
        """Aborts a connection, so that an upstream in the middle of an answer stops at once."""
        connection.serve(None)
        connection.abort()
        if connection.give_up():
            self._leave()

    def sweep(self, now_s: float) -> None:
        """Closes connections that are idle too long or closed by the peer. Once a second."""
        keep: list[UpstreamConnection] = []
        for connection in self._idle:
            if self._looked_at(connection, now_s):
                keep.append(connection)
            else:
                self.discard(connection)
        self._idle = keep

    async def aclose(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            self.discard(connection)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def take_idle(self) -> UpstreamConnection | None:
        """An idle connection that may carry a request now, if there is one."""
        now_s = monotonic()
        idle = self._idle
        while idle:
            connection = idle[-1]
            if (
                self._reuse.at_once(connection.chunked)
                and now_s - connection.idle_since_s < self._keepalive_s
                and connection.usable
            ):
                return idle.pop()  # the usual case, in which nothing is left to learn
            if not self._looked_at(connection, now_s):
                idle.pop()
                self.discard(connection)
            elif self._reuse.ready(connection.chunked, now_s - connection.idle_since_s):
                return idle.pop()
            else:
                break
        return None

    def _looked_at(self, connection: UpstreamConnection, now_s: float) -> bool:
        """Whether an idle connection is still good. Learns the upstream's ways by it."""
        idle_s = now_s - connection.idle_since_s
        if connection.usable:
            self._reuse.kept(connection.chunked, idle_s, now_s)
            return idle_s < self._keepalive_s
        closed_s = now_s if connection.closed_s is None else connection.closed_s
        self._reuse.closed(connection.chunked, closed_s - connection.idle_since_s, now_s)
        return False

    async def _wait_for_place(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._pool_s):
                await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled():
                # the place came in the same moment: it belongs to the next in line
                self._wake_one()
            if isinstance(error, TimeoutError):
                raise ConnectError(
                    "pool", f"all {self._connections_max} connections are in use"
                ) from None
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def _dial(self) -> UpstreamConnection:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Dialer(self._context, self, self._heads),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        session = self._session
        assert session.connector is not None
        headers = (
            {"Proxy-Authorization": self._proxy_authorization}
            if self._proxy_authorization
            else None
        )
        request = aiohttp.ClientRequest(
            "POST",
            self._url,
            loop=asyncio.get_running_loop(),
            session=session,
            ssl=self._context,
            proxy=self._proxy,
            proxy_headers=headers,
        )
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._connect_s, sock_connect=self._connect_s
        )
        try:
            lease = await session.connector.connect(request, traces=[], timeout=timeout)
        except TimeoutError:
            raise ConnectError("timeout", f"no connection within {self._connect_s:g} s") from None
        except aiohttp.ClientProxyConnectionError as error:
            raise ConnectError(
                "proxy",
                "the egress proxy cannot be reached:"
                f" {error.os_error.strerror or 'connection failed'}",
            ) from error
        except aiohttp.ClientHttpProxyError as error:
            raise ConnectError("proxy", f"the egress proxy answered {error.status}") from error
        except aiohttp.ClientSSLError as error:
            raise ConnectError("tls", _tls_reason(error)) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise ConnectError("dns", "its host name cannot be resolved") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectError("connect", _reason(error)) from error
        connection = lease.protocol
        assert isinstance(connection, UpstreamConnection)
        connection.take(lease, self._read_into)
        return connection

    def _leave(self) -> None:
        self._open -= 1
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def proxy_authorization(proxy: str) -> str | None:
    """The Proxy-Authorization for an egress proxy: the user of its URL, or None."""
    url = URL(proxy)
    return None if url.user is None else aiohttp.encode_basic_auth(url.user, url.password or "")


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    # What OpenSSL says of a first answer that is no TLS at all, such as HTTP's 400.
    if getattr(error.os_error, "reason", None) == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS at this port; write http:// in base_url if that is meant"
    return "TLS failed; see ca_file if it uses a private CA"


def _reason(error: BaseException) -> str:
    os_error = getattr(error, "os_error", error)
    # Its text, unlike the event loop's own, names no address.
    number = getattr(os_error, "errno", None)
    return (
        os.strerror(number).lower()
        if isinstance(number, int) and number > 0
        else "the connection failed"
    )
