"""A key's secret reaches its caller once, and no store, log, metric, audit or refusal."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.admin.control_socket import NAME
from proxy.admin.tenant_views import MadeKeys
from proxy.admin.tenants import KEYS_PATH
from proxy.cli.common import Failed
from tests.admin.test_access import routes_of
from tests.admin.test_tenants import ANSWER, Desk, desk
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import KEY, config, running
from tests.support.waiting import guard

GIVEN, ROTATED, TYPO = (
    "c4n4ry-given-3Qm9ZtW8",
    "c4n4ry-rotated-Lx2PbNc7",
    "sk-tk-c4n4ry-no-such-key",
)
WEAK = "c4n4ry-weak"


async def test_no_secret_stays_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with desk(tmp_path) as admin:
        made = await admin.make("made")
        await admin.ask("POST", KEYS_PATH, {"name": "bob", "secret": GIVEN}, MadeKeys)
        await admin.ask("POST", f"{KEYS_PATH}/bob/rotate", {"secret": ROTATED}, MadeKeys)
        for path, order in (
            (KEYS_PATH, {"name": "again", "secret": GIVEN}),
            (KEYS_PATH, {"name": "typo", "secret": TYPO}),
            (KEYS_PATH, {"name": "weak", "secret": WEAK}),
            (KEYS_PATH, {"name": "both", "secret": ROTATED, "secret_sha256": "ab" * 32}),
            (KEYS_PATH, {"name": "said", "says": {"secret": GIVEN}}),
            (f"{KEYS_PATH}/bob/rotate", {"secret": GIVEN}),
        ):
            with pytest.raises(Failed) as refused:
                await admin.ask("POST", path, order, MadeKeys)
            told.append(str(refused.value))
        for verb in ("suspend", "resume"):
            await admin.ask("POST", f"{KEYS_PATH}/bob/{verb}", {})
        await admin.ask("DELETE", f"{KEYS_PATH}/made", {})
        for secret in (made, GIVEN, ROTATED, TYPO):
            told.append(str(await admin.call(secret)))
        told += await all_that_is_read(admin)
        async with aiohttp.ClientSession() as http, http.get(admin.proxy.metrics_url) as page:
            told.append(await page.text())
    stored = [path.read_bytes() for path in admin.proxy.data_dir.rglob("*") if path.is_file()]
    everywhere = b"".join(stored) + "".join([*told, caplog.text]).encode()
    assert b"bob" in everywhere and len(stored) > 2
    assert b"c4n4ry" not in everywhere
    assert made.encode() not in everywhere


async def all_that_is_read(admin: Desk) -> list[str]:
    """The answer of every route that reads, on every key and record that there is."""
    told = []
    control = aiohttp.UnixConnector(str(admin.proxy.data_dir / NAME))
    async with aiohttp.ClientSession(connector=control) as session:
        for route in routes_of(admin.proxy):
            for name in ("bob", "made", "research") if route.method == "GET" else ():
                path = re.sub(r"\{\w+\}", name, route.path)
                async with session.get(f"http://control{path}") as response:
                    assert response.status in (200, 400, 404, 409), path
                    told.append(await response.text())
    assert len(told) > 40
    return told


@pytest.mark.parametrize("ends", ["suspend", "revoke", "rotate", "expire", "no team", "in config"])
async def test_a_secret_that_is_not_let_through_is_told_to_no_vendor_that_takes_callers_own(
    tmp_path: Path, ends: str
) -> None:
    visits: list[Visit] = []

    async def script(visit: Visit) -> None:
        visits.append(visit)
        await visit.answer(ANSWER)

    bob = f"{KEYS_PATH}/bob"
    async with raw_upstream(script) as upstream:
        forward = {"mock": {"base_url": upstream.url, "auth": "forward"}}
        blocks = config(upstream.url, upstreams=forward)
        async with running(tmp_path, blocks) as proxy:
            admin = Desk(proxy)
            said = {"name": "bob", "secret": GIVEN, "says": {"team": "research"}}
            await admin.ask("POST", KEYS_PATH, said, MadeKeys)
            if ends == "suspend":
                await admin.ask("POST", f"{bob}/suspend", {})
            elif ends == "revoke":
                await admin.ask("DELETE", bob, {})
            elif ends == "rotate":
                await admin.ask("POST", f"{bob}/rotate", {"grace": "0s"}, MadeKeys)
            elif ends == "expire":
                await admin.ask("PATCH", bob, {"says": {"expires": "2020-01-01"}})
            else:
                keys = {"bob": {"secret": KEY}} if ends == "in config" else {}
                (tmp_path / "config.yaml").write_text(
                    yaml.safe_dump({**blocks, "teams": {}, "keys": keys})
                )
                await proxy.server.reload()
            assert (await admin.call(GIVEN))[0] == 401
            assert (await admin.call("sk-a-callers-own-vendor-key"))[0] == 200
    assert [visit.header("authorization") for visit in visits] == [
        b"Bearer sk-a-callers-own-vendor-key"
    ]


async def test_a_connection_that_is_open_is_no_way_past_a_suspension(tmp_path: Path) -> None:
    """What was found out about a head is remembered for the next one on its connection."""
    async with desk(tmp_path) as admin, guard():
        bob = await admin.make("bob")
        client = await RawClient.connect(admin.proxy.address)
        body = b'{"model":"m-1","messages":[{"role":"user","content":"x"}]}'
        for _ in range(2):
            await client.post(body, key=bob)
            assert (await client.answer()).status == 200
        await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        for _ in range(2):  # both are sent before the first is answered
            await client.post(body, key=bob)
        refused = [await client.answer() for _ in range(2)]
        assert [(one.status, b"key_suspended" in one.body) for one in refused] == [(401, True)] * 2
        await admin.ask("POST", f"{KEYS_PATH}/bob/resume", {})
        await client.post(body, key=bob)
        assert (await client.answer()).status == 200
        client.writer.close()
