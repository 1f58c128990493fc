"""What the metrics and the admin listener have in common: a connection is for one request.

Both are reached without a credential, or before it is looked at. So a head has to be there within
`timeouts.header`, and an answer has to be taken within `TAKEN_S`; aiohttp itself waits for an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

TAKEN_S = 30.0  # for a client to read its answer; the largest page of metrics is some megabytes


def runner(app: web.Application, header_s: float, *, stop_s: float) -> web.AppRunner:
    """Serves the app, not set up yet; requests being answered get `stop_s` when it stops."""
    app.middlewares.insert(0, _one_request)  # the outermost: refusals end a connection too
    # aiohttp's keep-alive timer starts with the connection and ends it wherever no request is
    # being answered: since no connection is kept, it is the time for the head.
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=header_s,
        shutdown_timeout=stop_s,
    )


@web.middleware
async def _one_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        _last(request, error)
        raise
    _last(request, response)
    return response


def _last(request: web.Request, response: web.StreamResponse) -> None:
    """Let the connection end with this answer, taken or not."""
    response.force_close()
    if request.transport is not None:
        asyncio.get_running_loop().call_later(TAKEN_S, request.transport.abort)
