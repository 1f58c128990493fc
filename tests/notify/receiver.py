"""A real receiver of webhooks on loopback: what came to it, and how it answers next."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Post:
    """One message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Hook:
    """The receiver. `answers` are used up one by one, then `status` is given."""

    posts: list[Post] = field(default_factory=list)
    answers: list[int | Answer] = field(default_factory=list)
    status: int = 200
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append(Post(request.path, headers, await request.read()))
        how = self.answers.pop(0) if self.answers else self.status
        return web.Response(status=how, text="ok") if isinstance(how, int) else await how(request)

    def types(self) -> list[object]:
        return [post.json["type"] for post in self.posts]


@contextlib.asynccontextmanager
async def hook(path: str = "/hook/CANARY") -> AsyncIterator[Hook]:
    """A running receiver at `path` and everywhere else."""
    found = Hook()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}{path}"
    try:
        yield found
    finally:
        await runner.cleanup()
