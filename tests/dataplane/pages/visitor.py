"""A browser without scripts: cookies, forms, and the proxy with its pages on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from proxy.dataplane.pages.sign_in import COOKIE
from tests.admin.test_tenants import Desk, desk
from tests.dataplane.endpoints.test_team_usage import BLOCKS, KEYS

PAGES = ("/ui", "/ui/use", "/ui/records", "/ui/refusals", "/ui/export.csv")


class Visitor:
    """One browser. `form`: the token of the form that it saw last."""

    def __init__(self, address: str, session: aiohttp.ClientSession, cookie: str = COOKIE) -> None:
        self.url = f"http://{address}"
        self.session = session
        self.form = ""
        self._cookie = cookie

    async def get(self, path: str, **more: Any) -> tuple[int, str, Mapping[str, str]]:
        more = {"allow_redirects": False, **more}
        async with self.session.get(f"{self.url}{path}", **more) as response:
            text = await response.text()
            found = re.search(r'name="token" value="([^"]+)"', text)
            self.form = found[1] if found is not None else self.form
            return response.status, text, response.headers

    async def post(
        self, path: str, fields: Mapping[str, str], **more: Any
    ) -> tuple[int, str, Mapping[str, str]]:
        url = f"{self.url}{path}"
        async with self.session.post(url, data=fields, allow_redirects=False, **more) as response:
            return response.status, await response.text(), response.headers

    async def sign_in(self, key: str, **more: Any) -> tuple[int, str, Mapping[str, str]]:
        await self.get("/ui")
        return await self.post("/ui/sign-in", {"key": key, "token": self.form}, **more)

    @property
    def cookie(self) -> str | None:
        found = {one.key: one.value for one in self.session.cookie_jar}
        return found.get(self._cookie)


@contextlib.asynccontextmanager
async def visitor(admin: Desk) -> AsyncIterator[Visitor]:
    async with browser_at(admin.proxy.address) as one:
        yield one


@contextlib.asynccontextmanager
async def browser_at(address: str, cookie: str = COOKIE) -> AsyncIterator[Visitor]:
    """A browser that looks at the pages of this address."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Visitor(address, session, cookie)


@contextlib.asynccontextmanager
async def site(directory: Path, *, costs: bool = False, **blocks: object) -> AsyncIterator[Desk]:
    """The keys of the tests of /v1/usage, each with one request booked."""
    settings = {**BLOCKS, "pages": {"team": True, "costs": costs}, **blocks}
    async with desk(directory, **settings) as admin:
        for name, secret in KEYS.items():
            assert await admin.call(secret) == (200, ""), name
        await admin.proxy.records(len(KEYS))
        yield admin
