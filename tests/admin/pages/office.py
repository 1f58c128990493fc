"""A proxy with the pages of administrators on, and browsers that look at them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import yaml

from proxy.admin.pages.visitors import COOKIE
from proxy.admin.reload import RELOAD_PATH, Reloaded
from tests.admin.test_tenants import Desk, desk
from tests.dataplane.endpoints.test_team_usage import ADMIN, BLOCKS, KEYS
from tests.dataplane.pages.visitor import Visitor, browser_at

PAGES = (
    "/ui",
    "/ui/use",
    "/ui/use?by=key",
    "/ui/use?by=day&team=research",
    "/ui/use?by=model&key=alice",
    "/ui/use?by=upstream",
    "/ui/records",
    "/ui/records?team=research&model=m-1",
    "/ui/refusals",
    "/ui/teams",
    "/ui/teams/research",
    "/ui/keys",
    "/ui/keys?team=lab&state=active",
    "/ui/keys/alice",
    "/ui/limits",
    "/ui/limits?near=50%25",
    "/ui/credit?limit=team:research/requests/month",
    "/ui/prices",
    "/ui/audit",
    "/ui/ledger",
    "/ui/config",
)
FOR_ADMINS = ("/ui/new/key", "/ui/new/team")


def admin_browser(admin: Desk) -> AbstractAsyncContextManager[Visitor]:
    return browser_at(admin.proxy.server.addresses.admin, COOKIE)


@contextlib.asynccontextmanager
async def signed_in(admin: Desk, token: str = ADMIN) -> AsyncIterator[Visitor]:
    async with admin_browser(admin) as one:
        assert (await one.sign_in(token))[0] == 303
        yield one


@contextlib.asynccontextmanager
async def office(
    directory: Path, *, admin: Mapping[str, object] | None = None, **blocks: Any
) -> AsyncIterator[Desk]:
    """The keys of the tests of /v1/usage, each with one request booked."""
    settings = {**BLOCKS, "pages": {"admin": True}, **blocks}
    settings["admin"] = {**BLOCKS["admin"], **(admin or {})}
    async with desk(directory, **settings) as admin_:
        for name, secret in KEYS.items():
            assert await admin_.call(secret) == (200, ""), name
        await admin_.proxy.records(len(KEYS))
        yield admin_


async def rewrite_admin(admin: Desk, tokens: Mapping[str, object], **more: object) -> None:
    """Puts other tokens into config.yaml and reloads it."""
    path = admin.proxy.data_dir.parent / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["admin"] |= {"tokens": dict(tokens), **more}
    path.write_text(yaml.safe_dump(settings))
    await admin.ask("POST", RELOAD_PATH, {}, Reloaded)


def once_of(text: str) -> str:
    """The one-time word of the forms on a page."""
    found = re.search(r'name="once" value="([^"]+)"', text)
    assert found is not None
    return found[1]
