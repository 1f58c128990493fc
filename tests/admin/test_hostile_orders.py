"""What the routes of keys and teams answer to what no administrator means: a refusal with its
reason, never a fault of the proxy, and nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from proxy.admin.control_socket import NAME
from proxy.admin.tenants import AUDIT_PATH, KEYS_PATH, TEAMS_PATH
from tests.admin.test_tenants import desk

DIGITS = "9" * 5000
BODIES = (
    b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b'{"name":"\\ud800"}', b"[" * 30_000, b'{"says":' * 8000,
    b'{"name":1}', b'{"name":"x","says":[]}', b'{"name":"x","says":null}', b'{"name":"x","reason":5}', b'{"name":"x","count":%s}' % DIGITS.encode(),
    b'{"name":"x","says":{"labels":' + b'{"a":' * 900 + b"1" + b"}" * 902, b'{"name":"x","says":{"limits":%s}}' % DIGITS.encode(),
    b'{"name":"x","says":{"expires":"3650000d"}}', b'{"name":"x","says":{"team":["research"]}}', b'{"name":"x","secret_sha256":"zz"}',
)  # fmt: skip
Ask = Callable[..., Awaitable[tuple[int, str]]]
PATHS = (
    "a%2Fb",
    "%ff%fe",
    "%00",
    "..%2f..",
    "%ED%A0%80",
    "x" * 7000,
    "alice%2Frotate",
    "a%0d%0aX",
    "%0A%7B",
    "%7B%7D",
    "a%0Ab",
)


@contextlib.asynccontextmanager
async def asking(directory: Path) -> AsyncIterator[Ask]:
    """Asks the control socket, byte by byte as it is told: the status, and the error's code."""
    async with desk(directory) as admin:
        control = aiohttp.UnixConnector(str(admin.proxy.data_dir / NAME))
        async with aiohttp.ClientSession(connector=control) as session:

            async def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str]:
                async with session.request(
                    method,
                    URL(f"http://control{path}", encoded=True),
                    data=body,
                    headers={"Content-Type": "application/json"},
                ) as response:
                    answer = await response.json()
                    return response.status, answer.get("error", {}).get("code", "")

            yield ask
        deeds = admin.proxy.query("SELECT * FROM audit")
        assert deeds == [], "nothing was changed"


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=1e3", f"limit={DIGITS}", "limit="])
async def test_a_page_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async with asking(tmp_path) as ask:
        for path in (KEYS_PATH, AUDIT_PATH):
            assert await ask("GET", f"{path}?{query}") == (400, "invalid_request")
        zeros = "0" * 20 + "9" * 30
        assert await ask("GET", f"{AUDIT_PATH}?after={zeros}") == (400, "invalid_request")


async def test_no_body_and_no_name_is_a_fault_of_the_proxy(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        for method, path in (
            ("POST", KEYS_PATH),
            ("POST", TEAMS_PATH),
            ("PATCH", f"{KEYS_PATH}/bob"),
            ("POST", f"{KEYS_PATH}/bob/rotate"),
            ("POST", f"{KEYS_PATH}/bob/suspend"),
        ):
            for body in BODIES:
                status, _ = await ask(method, path, body)
                assert status in (400, 404), (method, path, body[:60], status)
        for name in PATHS:
            assert (await ask("GET", f"{KEYS_PATH}/{name}"))[0] == 404
            assert (await ask("POST", f"{KEYS_PATH}/{name}/suspend", b"{}"))[0] == 404
        assert (await ask("POST", KEYS_PATH, b" " * 70_000))[0] == 413
        assert await ask("GET", AUDIT_PATH) == (200, "")
