"""The admin plane's listeners, and the frame around its routes.

The frame checks and reads each request, and answers in JSON, never with a traceback. The control
socket and TCP serve the same routes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web

from proxy.admin.auth import Asker, Guard
from proxy.admin.control_socket import NAME, ControlSocket, NoControlSocket, user_of
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, Told
from proxy.admin.replays import Replays
from proxy.config.settings import AdminSettings, Settings, admin_listens, host_port
from proxy.core.dialects.registry import DEFAULT
from proxy.core.errors import ProxyError
from proxy.core.http.health import Health
from proxy.listeners.acceptor import Acceptor
from proxy.listeners.addresses import shown
from proxy.listeners.side_listener import listen, runner

BODY_BYTES_MAX = 64 * 1024
PAGES = r"/ui{rest:(/[\s\S]*)?}"
NEXT = "x-tollkeeper-next"  # what to ask for with `after`, where an answer is a page of lines
STOP_S = 2.0  # for requests that are being answered when the process stops

_LOG = logging.getLogger("tollkeeper.admin")


class AdminPages(Protocol):
    """Answers below `PAGES` what a browser asks on TCP, refusals too."""

    async def answer(self, request: web.Request, guard: Guard) -> web.StreamResponse: ...


class AdminPlane:
    """Serves the routes until `aclose`, on any number of listeners.

    `pages` are for browsers; None: there are none.
    """

    def __init__(
        self,
        routes: Sequence[AdminEndpoint],
        health: Health,
        *,
        header_s: float = 10.0,
        pages: AdminPages | None = None,
    ) -> None:
        self._routes = routes
        self._pages = pages
        self._header_s = header_s
        self._health = health
        self._replays = Replays()
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []
        self._control: ControlSocket | None = None
        self._acceptor: Acceptor | None = None

    async def start(self, settings: Settings, admin: Callable[[], AdminSettings]) -> str:
        """Open the listeners that the config asks for.

        `admin` gives its settings in effect. Returns the address on TCP; it is empty where nobody
        could be known there. Raises OSError if `admin.listen`
        cannot be opened. A control socket that cannot be made is only logged: the proxy serves
        without it, and commands that need it say so too.
        """
        try:
            await self.start_socket(settings.data_dir / NAME)
        except NoControlSocket as error:
            _LOG.warning("commands that need the running process will not find it: %s", error)
        if not admin_listens(settings):
            return ""
        return await self.start_tcp(*host_port(settings.admin.listen), admin)

    async def start_socket(self, path: Path) -> None:
        """Listen at the path, with the data directory's lock held. Raises NoControlSocket."""
        self._control = ControlSocket(path)
        made = await self._runner(Guard(None))
        assert made.server is not None, "it is set up"
        self._servers.append(
            await asyncio.get_running_loop().create_unix_server(
                made.server, sock=self._control.socket
            )
        )

    async def start_tcp(self, host: str, port: int, admin: Callable[[], AdminSettings]) -> str:
        """Listen on TCP for those with a token. Raises OSError if it cannot.

        Returns `host:port` with the port that was taken.
        """
        made = await self._runner(Guard(admin, host))
        self._acceptor, taken = await listen(made, host, port)
        return shown(taken)

    async def aclose(self) -> None:
        """Take no new requests; give those being answered a moment."""
        if self._control is not None:
            self._control.remove()
        if self._acceptor is not None:
            self._acceptor.close()
        for server in self._servers:
            server.close()
        await asyncio.gather(*(made.cleanup() for made in self._runners))

    async def _runner(self, guard: Guard) -> web.AppRunner:
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_in_json])
        for path in ("/healthz", "/readyz"):
            app.router.add_get(path, self._check)
        for route in self._routes:
            handler = _handler(route, guard, self._replays, self._header_s)
            app.router.add_route(route.method, route.pattern, handler)
        if self._pages is not None and not guard.local:
            pages = self._pages

            async def page(request: web.Request) -> web.StreamResponse:
                return await pages.answer(request, guard)

            app.router.add_route("*", PAGES, page)
        # Unknown paths are refused by the same rules, so that a stranger does not learn which
        # routes exist.
        nowhere = AdminEndpoint("*", "", "", _unknown_path, query=None)
        app.router.add_route(
            "*", r"/{path:[\s\S]*}", _handler(nowhere, guard, self._replays, self._header_s)
        )
        made = runner(app, self._header_s, stop_s=STOP_S)
        await made.setup()
        self._runners.append(made)
        return made

    async def _check(self, request: web.Request) -> web.Response:
        status, body = self._health.answer(request.path)
        return web.Response(status=status, body=body, content_type="application/json")


def _handler(
    route: AdminEndpoint, guard: Guard, replays: Replays, body_s: float
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        asker = guard.check(request.method, request.headers)
        if guard.local:
            asker = Asker(user_of(request.transport), asker.role)
        try:
            async with asyncio.timeout(body_s):
                body = await request.read()
        except TimeoutError as error:
            raise ProxyError(
                408,
                "invalid_request_error",
                "request_timeout",
                f"The body was not complete within {body_s:g} s.",
            ) from error
        origin = request.remote or "socket"
        ask = route.request(asker, request.query.items(), body, request.match_info, origin)
        key = request.headers.get("Idempotency-Key")
        if key is not None and route.once:
            who = _caller(guard, asker, request)

            async def work() -> bytes:
                return msgspec.json.encode(await route.answer(ask))

            text, again = await replays.once(who, request.path, key, body, work)
            headers = {"Idempotent-Replayed": "true"} if again else {}
            return web.Response(body=text, headers=headers, content_type="application/json")
        answer = await route.answer(ask)
        if isinstance(answer, Told):
            return await _tell(request, answer)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    return handle


def _caller(guard: Guard, asker: Asker, request: web.Request) -> str:
    """Who may be given an earlier answer again: a token that replaced another under its name may
    not, since the answer can hold a secret."""
    if guard.local:
        return f"socket {asker.name}"
    token = request.headers["Authorization"].partition(" ")[2].strip()
    return f"token {asker.name} {hashlib.sha256(token.encode(errors='replace')).hexdigest()}"


async def _tell(request: web.Request, told: Told) -> web.StreamResponse:
    """Sends a text. What fails behind its beginning ends the connection, so that nobody takes a
    part for the whole."""
    headers = {"Content-Type": told.media_type}
    if told.next is not None:
        headers[NEXT] = str(told.next)
    if isinstance(told.pieces, bytes):
        return web.Response(body=told.pieces, headers=headers)
    response = web.StreamResponse(headers=headers)
    begun = False
    try:
        async for piece in told.pieces:
            if not begun:  # what fails before its first piece is answered as any failure
                await response.prepare(request)
                begun = True
            await response.write(piece)
        await response.write_eof()
    except Exception as error:
        if not begun:
            raise
        if not isinstance(error, ConnectionError):
            _LOG.exception("%s %s failed on the way", request.method, request.path)
        if request.transport is not None:
            request.transport.close()
    return response


async def _unknown_path(_ask: AdminRequest) -> object:
    raise ProxyError(
        404,
        "invalid_request_error",
        "unknown_path",
        "The admin API has no such path, or not with this method.",
    )


@web.middleware
async def _in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal and every fault in the one shape of errors."""
    try:
        return await handler(request)
    except ProxyError as error:
        refusal = error
    except web.HTTPRequestEntityTooLarge:
        refusal = ProxyError(
            413,
            "invalid_request_error",
            "body_too_large",
            f"The admin API takes at most {BODY_BYTES_MAX} bytes.",
        )
    except Exception:  # a defect of ours: it goes into the log, and not to the client
        _LOG.exception("%s %s failed", request.method, request.path)
        refusal = ProxyError(
            500, "api_error", "internal_error", "The proxy failed at this; its log says why."
        )
    return web.Response(
        status=refusal.status,
        body=DEFAULT.error_body(refusal),
        headers=dict(refusal.headers),
        content_type="application/json",
    )
