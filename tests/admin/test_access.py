"""Every credential against every route of the running proxy, on both listeners.

The table comes from the routes themselves, so that a new one is in it. What is let in is told by
the refusals that only the route's own reading makes; nothing is changed by any of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.admin.control_socket import NAME
from proxy.admin.endpoint import AdminEndpoint
from proxy.admin.reload import Reloaded, ReloadOrder
from proxy.admin.routes import admin_routes
from proxy.core.managed import Carried
from tests.support.running import Running, config, running

ADMIN, VIEWER = "adm-5Tq8WzL2xVb7NcK4", "vwr-9Hd3RfY6mPj1GsQ8"
MEMBER, LEAD, SHUT = (
    "vk-me-3Qm9ZtW8rLx2PbNc7HsD",
    "vk-le-7Yk2RnV5qJd8XfGb4TwM",
    "vk-sh-5Tq8WzL2xVb7NcK4RfYs",
)
BLOCKS: dict[str, Any] = {
    "admin": {
        "listen": "127.0.0.1:0",
        "tokens": {
            "ops": {"token": ADMIN, "role": "admin"},
            "board": {"token": VIEWER, "role": "viewer"},
        },
    },
    "keys": {
        "member": {"team": "research", "secret": MEMBER},
        "lead": {"team": "research", "role": "lead", "secret": LEAD},
        "shut": {"team": "research", "secret": SHUT, "expires": "2020-01-01"},
    },
}
JSON = {"Content-Type": "application/json"}
NOT_JSON = {"Content-Type": "text/plain"}
ORIGIN = {"Origin": "http://127.0.0.1:8791"}
STRANGE = {"Host": "attacker.example"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# What is sent; then the refusal on TCP of reading and of writing, and on the socket. "" is let in.
TABLE: tuple[tuple[dict[str, str], str, str, str, str], ...] = (
    (JSON, "invalid_admin_token", "invalid_admin_token", "", ""),
    (JSON | bearer("adm-no-such-token-00"), "invalid_admin_token", "invalid_admin_token", "", ""),
    # Keys of callers open nothing here, whatever they may do at their own address.
    *[
        (JSON | bearer(key), "invalid_admin_token", "invalid_admin_token", "", "")
        for key in (MEMBER, LEAD, SHUT)
    ],
    (JSON | {"x-api-key": ADMIN}, "invalid_admin_token", "invalid_admin_token", "", ""),
    (JSON | bearer(VIEWER), "", "role_not_allowed", "", ""),
    (JSON | bearer(ADMIN), "", "", "", ""),
    (NOT_JSON | bearer(ADMIN), "", "unsupported_media_type", "", "unsupported_media_type"),
    (JSON | bearer(ADMIN) | ORIGIN, *["origin_refused"] * 4),
    (JSON | bearer(ADMIN) | STRANGE, "host_refused", "host_refused", "", ""),
    (JSON | bearer(VIEWER) | {"X-HTTP-Method-Override": "DELETE"}, "", "role_not_allowed", "", ""),
)
GUARDS = {refusal for _, *refusals in TABLE for refusal in refusals if refusal}


async def unchanged(_order: Any, *, cut: bool = False) -> Carried:
    raise AssertionError(f"only the routes' names are wanted here, cut: {cut}")


async def not_reloaded(_order: ReloadOrder) -> Reloaded:
    raise AssertionError("only the routes' names are wanted here")


def routes_of(proxy: Running) -> list[AdminEndpoint]:
    server = proxy.server
    return list(
        admin_routes(
            server.services, lambda: server.snapshot, lambda: None, unchanged, not_reloaded
        )
    )


@contextlib.asynccontextmanager
async def sessions(proxy: Running) -> AsyncIterator[dict[str, tuple[str, aiohttp.ClientSession]]]:
    control = aiohttp.UnixConnector(str(proxy.data_dir / NAME))
    async with (
        aiohttp.ClientSession() as tcp,
        aiohttp.ClientSession(connector=control) as socket,
    ):
        yield {
            "tcp": (f"http://{proxy.server.addresses.admin}", tcp),
            "socket": ("http://control", socket),
        }


@pytest.mark.parametrize("listener", ["tcp", "socket"])
async def test_each_credential_at_each_route(tmp_path: Path, listener: str) -> None:
    async with (
        running(tmp_path, config("http://127.0.0.1:9/v1", **BLOCKS)) as proxy,
        sessions(proxy) as both,
    ):
        url, session = both[listener]
        routes = routes_of(proxy)
        assert len(routes) >= 30
        for route in routes:
            path = re.sub(r"\{\w+\}", "nobody", route.path)
            reads = route.method == "GET"
            for sent, *refusals in TABLE:
                expected = refusals[(listener == "socket") * 2 + (not reads)]
                async with session.request(
                    # No route takes a list: what is let in is refused by the route itself.
                    route.method,
                    url + path,
                    data=None if reads else b"[1]",
                    headers=sent,
                ) as response:
                    told = await response.read()
                    body = json.loads(told) if response.content_type == "application/json" else told
                found = body.get("error", {}).get("code", "") if isinstance(body, dict) else ""
                where = (route.method, path, sent)
                if expected:
                    assert found == expected, where
                else:
                    assert found not in GUARDS and response.status < 500, (*where, found)
                assert not any(secret in str(body) for secret in (ADMIN, VIEWER, MEMBER, LEAD)), (
                    where
                )
        assert proxy.query("SELECT * FROM audit") == []
        assert proxy.query("SELECT * FROM tenants") == []


@pytest.mark.parametrize("credential", [ADMIN, VIEWER, MEMBER, LEAD, SHUT])
async def test_the_address_for_callers_has_no_route_of_the_admin_plane(
    tmp_path: Path, credential: str
) -> None:
    async with (
        running(tmp_path, config("http://127.0.0.1:9/v1", **BLOCKS)) as proxy,
        aiohttp.ClientSession() as session,
    ):
        for route in routes_of(proxy):
            path = re.sub(r"\{\w+\}", "nobody", route.path)
            async with session.request(
                route.method, f"http://{proxy.address}{path}", headers=bearer(credential)
            ) as response:
                code = (await response.json())["error"]["code"]
                expected = (
                    {"invalid_api_key", "key_expired"}
                    if credential
                    not in (
                        MEMBER,
                        LEAD,
                    )
                    else {"unknown_path"}
                )
                assert code in expected, (route.method, path)
