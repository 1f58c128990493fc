"""The common part of the metrics and the admin listener: one request a connection.

Both are reached without a credential, or before it is checked. So a head has to be there within
`timeouts.header`, and an answer has to be taken within `TAKEN_S`; aiohttp itself waits for an hour.
A body is not decompressed, since aiohttp does that on the event loop, also for one that nobody
reads: two kilobytes become a gigabyte.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.listeners.acceptor import Acceptor

CONNECTIONS_MAX = 64  # a few scrapers, and people
# Connections that have brought their request.
ASKING: web.AppKey[set[asyncio.BaseTransport]] = web.AppKey("asking", set)
LINGER_S = 2.0  # for a client that still sends its body to see the answer
TAKEN_S = 30.0  # for a client to read its answer; the largest page of metrics is some megabytes


class _OneLine(logging.LoggerAdapter[logging.Logger]):
    """Tells of what is no HTTP in one line, without a traceback or what was sent.

    aiohttp quotes the line at fault, which may hold a secret.
    """

    def exception(self, msg: object, *args: object, **more: Any) -> None:
        """What aiohttp calls with the fault as `exc_info`."""
        fault = more.get("exc_info")
        if isinstance(fault, HttpProcessingError):
            name = type(fault).__name__
            self.warning("a request that cannot be read was answered %d (%s)", fault.code, name)
        else:
            super().exception(msg, *args, **more)


def runner(app: web.Application, header_s: float, *, stop_s: float) -> web.AppRunner:
    """A runner for the app, not set up yet. At its stop, running requests get `stop_s`."""
    app[ASKING] = set()
    app.middlewares.insert(0, _one_request)  # the outermost: refusals end a connection too
    # aiohttp's keep-alive timer starts with the connection and ends it wherever no request is
    # being answered: since no connection is kept, it is the time for the head.
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=header_s,
        shutdown_timeout=stop_s,
        lingering_time=LINGER_S,
        auto_decompress=False,
        logger=_OneLine(logging.getLogger("tollkeeper.http")),
    )


async def listen(served: web.AppRunner, host: str, port: int) -> tuple[Acceptor, tuple[str, int]]:
    """Serves a runner, which is set up, at this address.

    Returns the acceptor, and the host and port. Raises OSError if the address cannot be opened.
    """
    assert served.server is not None, "it is set up"
    asking = served.app[ASKING]
    acceptor = Acceptor(
        served.server,
        lambda transport, _: transport not in asking,
        most=CONNECTIONS_MAX,
        name=f"connections to {host}:{port}",
    )
    return acceptor, await acceptor.listen(host, port)


@web.middleware
async def _one_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    transport = request.transport
    if transport is None:
        return await handler(request)
    asking = request.app[ASKING]
    asking.add(transport)
    try:
        response = await handler(request)
        response.force_close()
    except web.HTTPException as error:
        error.force_close()
        raise
    finally:
        if not request.content.is_eof():  # it is refused, and only its client keeps it open
            asking.discard(transport)
        asyncio.get_running_loop().call_later(TAKEN_S, _end, transport, asking)
    return response


def _end(transport: asyncio.Transport, asking: set[asyncio.BaseTransport]) -> None:
    """Ends the connection after its answer, whether the client took it or not."""
    asking.discard(transport)
    transport.abort()
