"""`POST /admin/v1/reload`: says what changed, refuses a config that cannot be used, cuts keys off."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.admin.reload import RELOAD_PATH, Reloaded
from proxy.admin.tenant_views import Deeds
from proxy.admin.tenants import AUDIT_PATH
from proxy.cli.common import Failed
from tests.admin.test_tenants import Desk, answering, desk, desk_of
from tests.server.test_tenancy import booked, event, reading
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, config, running
from tests.support.waiting import guard, until

URL = "http://127.0.0.1:9/v1"
ADMIN, OTHER = "adm-5Tq8WzL2xVb7NcK4", "adm-9Hd3RfY6mPj1GsQ8"
BOB = "vk-3Qm9ZtW8rLx2PbNc7HsD"


def rewrite(of: Desk, /, **blocks: object) -> dict[str, Any]:
    """The config file with other blocks."""
    path = of.proxy.data_dir.parent / "config.yaml"
    told: dict[str, Any] = yaml.safe_load(path.read_text()) | blocks
    path.write_text(yaml.safe_dump(told))
    return told


async def test_it_says_what_changed_what_waits_for_a_restart_and_who_wanted_it(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        rewrite(admin, support="desk", log={"format": "json"}, keys={"bob": {"secret": BOB}})
        done: Reloaded = await admin.ask("POST", RELOAD_PATH, {"reason": "ticket 7"}, type=Reloaded)
        assert {one.path: (one.before, one.after) for one in done.changed} == {
            "keys.alice": ({"team": "research", "role": "member", "secret_sha256": "***"}, None),
            "keys.bob": (None, {"role": "member", "secret_sha256": "***"}),
            "support": ("", "desk"),
        }
        assert done.needs_restart == ["log.format"] and (done.more, done.ended) == (0, 0)
        assert await admin.call(KEY) == (401, "invalid_api_key")
        assert await admin.call(BOB) == (200, "")
        [deed] = (await admin.ask("GET", AUDIT_PATH, type=Deeds)).audit
        assert (deed.action, deed.actor, deed.reason) == (
            "config.reload",
            getpass.getuser(),
            "ticket 7",
        )
        assert (await admin.ask("POST", RELOAD_PATH, type=Reloaded)).changed == []


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"routes": [{"model": "*", "upstream": "mok"}]}, "the nearest known one is mock"),
        ({"suport": "x"}, "the nearest"),
        ({"upstreams": None}, "upstreams"),
    ],
)
async def test_a_config_that_cannot_be_used_changes_nothing_and_the_answer_says_why(
    tmp_path: Path, blocks: dict[str, object], said: str
) -> None:
    async with desk(tmp_path) as admin:
        rewrite(admin, **blocks)
        with pytest.raises(Failed, match=rf"(?s){said}.*config_refused"):
            await admin.ask("POST", RELOAD_PATH, type=Reloaded)
        assert await admin.call(KEY) == (200, "")
        assert admin.proxy.query("SELECT * FROM audit") == []


@pytest.mark.parametrize("how", ["removed", "disabled", "expired"])
@pytest.mark.parametrize("cut", [True, False], ids=["with cut", "without cut"])
async def test_what_runs_for_a_key_that_is_taken_out_ends_if_it_is_to_be_cut(
    tmp_path: Path, how: str, cut: bool
) -> None:
    release = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await visit.stream(event("some words"), end=False)
        await release.wait()
        await visit.send(b"0\r\n\r\n")

    alice = {"alice": {"team": "research", "secret": KEY}}
    async with desk_of(slowly, tmp_path, keys=alice | {"bob": {"secret": BOB}}) as admin, guard():
        begun = [asyncio.Event(), asyncio.Event()]
        mine, others = (
            asyncio.create_task(reading(admin, secret, stream=True, begun=mark))
            for secret, mark in zip((BOB, KEY), begun, strict=True)
        )
        for mark in begun:
            await mark.wait()
        left: dict[str, object] = {"bob": {"secret": BOB, "expires": "2020-01-01"}}
        left = {"removed": {}, "disabled": {"bob": {}}, "expired": left}[how]
        rewrite(admin, keys=alice | left)
        query = "?cut=true" if cut else ""
        done: Reloaded = await admin.ask("POST", RELOAD_PATH + query, {}, type=Reloaded)
        assert done.ended == cut
        if cut:
            assert (b"key_expired" if how == "expired" else b"key_revoked") in await mine
            [row] = await booked(admin, "bob")
            assert row["outcome"] == "cut" and row["output_tokens"]
            assert not others.done()
        else:
            assert (await admin.call(BOB))[0] == 401
            assert not mine.done()
        release.set()
        assert event("some words") in await others
        await mine


async def test_a_request_that_waits_for_a_connection_is_not_sent_for_a_key_that_is_gone(
    tmp_path: Path,
) -> None:
    release = asyncio.Event()
    visits: list[Visit] = []

    async def slowly(visit: Visit) -> None:
        visits.append(visit)
        await visit.stream(event("some words"), end=False)
        await release.wait()
        await visit.send(b"0\r\n\r\n")

    alice = {"alice": {"team": "research", "secret": KEY}}
    keys = alice | {"bob": {"secret": BOB}}
    async with desk_of(slowly, tmp_path, connections_max_upstream=1, keys=keys) as admin, guard():
        begun = asyncio.Event()
        others = asyncio.create_task(reading(admin, KEY, stream=True, begun=begun))
        await begun.wait()
        waits = asyncio.create_task(admin.call(BOB))
        await until(lambda: len(admin.proxy.server.services.waiting) == 1)
        rewrite(admin, keys=alice)
        assert (await admin.ask("POST", RELOAD_PATH, {}, type=Reloaded)).ended == 0
        release.set()
        assert await waits == (401, "key_revoked")
        await others
        assert len(visits) == 1


async def test_a_caller_known_by_its_own_credential_is_never_cut(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await visit.stream(event("some words"), end=False)
        await release.wait()
        await visit.send(b"0\r\n\r\n")

    async with raw_upstream(slowly) as upstream:
        forward = {"mock": {"base_url": upstream.url, "auth": "forward"}}
        settings = config(upstream.url, upstreams=forward)
        async with running(tmp_path, settings) as proxy, guard():
            admin, begun = Desk(proxy), asyncio.Event()
            mine = asyncio.create_task(
                reading(admin, "sk-a-callers-own-vendor-key", stream=True, begun=begun)
            )
            await begun.wait()
            done = await admin.ask("POST", f"{RELOAD_PATH}?cut=true", {}, type=Reloaded)
            assert done.ended == 0
            release.set()
            assert b"<cut>" not in await mine


async def status_of(address: str, token: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{address}/admin/v1/health", headers={"Authorization": f"Bearer {token}"}
        ) as response,
    ):
        return response.status


async def test_a_token_that_is_replaced_ends_with_the_reload(tmp_path: Path) -> None:
    def tokens(token: str) -> dict[str, object]:
        return {"listen": "127.0.0.1:0", "tokens": {"ops": {"token": token, "role": "admin"}}}

    async with desk_of(answering, tmp_path, admin=tokens(ADMIN)) as admin:
        address = admin.proxy.server.addresses.admin
        assert [await status_of(address, token) for token in (ADMIN, OTHER)] == [200, 401]
        rewrite(admin, admin=tokens(OTHER))
        done = await admin.ask("POST", RELOAD_PATH, {}, type=Reloaded)
        assert (list(done.needs_restart), len(done.changed)) == ([], 1)
        assert ADMIN not in str(done) and OTHER not in str(done)
        assert [await status_of(address, token) for token in (ADMIN, OTHER)] == [401, 200]


async def test_the_first_token_needs_a_restart_for_nothing_listens_yet(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        rewrite(admin, admin={"tokens": {"ops": {"token": ADMIN}}})
        done = await admin.ask("POST", RELOAD_PATH, {}, type=Reloaded)
        assert done.needs_restart == ["admin.tokens"]
