"""The metrics listener: `GET /metrics`, and health as on every listener.

It has an address of its own, so that the network can decide who may scrape.

The page is in the text format whatever `Accept` says. OpenMetrics would say nothing more (there are
no exemplars) and takes twice the time, and prometheus_client's choice of an encoder fails on a
version that is no number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from proxy.core.http.health import Health
from proxy.core.http.hostnames import is_ours
from proxy.listeners.acceptor import Acceptor
from proxy.listeners.addresses import shown
from proxy.listeners.side_listener import listen, runner
from proxy.metrics.collector import Metrics

STOP_S = 1.0  # for a scrape that hangs when the process stops


class MetricsListener:
    """Serves the page. It renders in a thread, one page at a time, for all scrapes of that time.

    The page names teams and what they spend, and a scraper has no credential. So a web page must
    not get it. It is recognised by its `Origin`, or by a `Host` that is neither the listener's own
    name nor one of `hosts`: then it has pointed a name of its own here.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        prepare: Callable[[], Awaitable[None]] | None = None,
        *,
        hosts: Sequence[str] = (),
        header_s: float = 10.0,
    ) -> None:
        self._metrics = metrics
        self._prepare = prepare  # collects what only the event loop may look at
        self._health = health
        self._page: asyncio.Task[bytes] | None = None
        app = web.Application()
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/healthz", self._check)
        app.router.add_get("/readyz", self._check)
        self._hosts = list(hosts)
        self._runner = runner(app, header_s, stop_s=STOP_S)
        self._acceptor: Acceptor | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen. Returns `host:port` with the port that was taken. Raises OSError if it cannot."""
        self._hosts.append(host)
        await self._runner.setup()
        self._acceptor, taken = await listen(self._runner, host, port)
        return shown(taken)

    async def aclose(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        await self._runner.cleanup()

    async def _scrape(self, request: web.Request) -> web.Response:
        if "Origin" in request.headers:
            return web.Response(
                status=403,
                text="A web page may not read the metrics: ask without an Origin header.\n",
            )
        if not is_ours(request.headers.get("Host", ""), self._hosts):
            return web.Response(
                status=403,
                text="This is not how the metrics listener is called. Use its address, or write "
                "this name in `metrics.hosts`.\n",
            )
        if self._page is None or self._page.done():
            self._page = asyncio.create_task(self._render())
        # Shielded: one scraper that gives up does not take the page from the others.
        page = await asyncio.shield(self._page)
        response = web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
        response.enable_compression()
        return response

    async def _render(self) -> bytes:
        if self._prepare is not None:
            await self._prepare()
        return await asyncio.to_thread(self._metrics.render)

    async def _check(self, request: web.Request) -> web.Response:
        status, body = self._health.answer(request.path)
        return web.Response(status=status, body=body, content_type="application/json")
