"""A change of keys while the proxy serves, and what a new config makes of the database's keys."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.admin.tenant_views import Done, TeamView
from proxy.admin.tenants import KEYS_PATH, TEAMS_PATH
from proxy.cli.common import Failed
from proxy.ledger import connect_reader
from tests.admin.test_tenants import ANSWER, CALL, Desk, desk, desk_of
from tests.support.raw import RawClient, Visit
from tests.support.running import KEY, config
from tests.support.waiting import guard, until


async def test_a_key_that_a_new_config_has_no_place_for_is_refused_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob", team="research")
        carol = await admin.make("carol")
    keys = {"carol": {"secret": KEY}}
    async with desk(tmp_path, teams={}, keys=keys) as admin:
        assert await admin.call(bob) == (401, "key_suspended")
        assert await admin.call(carol) == (401, "key_revoked")
        assert await admin.call(KEY) == (200, "")
        assert "there is no team 'research'" in caplog.text
        assert "config.yaml names it too" in caplog.text
    async with desk(tmp_path) as admin:
        assert await admin.call(bob) == await admin.call(carol) == (200, "")


async def test_a_team_is_idle_only_where_no_key_of_the_database_names_it_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teams: dict[str, object] = {"research": {}, "lab": {}, "attic": {}}
    async with desk(tmp_path, teams=teams) as admin:
        await admin.make("bob", team="lab")
        caplog.clear()
        await admin.proxy.server.reload()
        assert "made at run time: attic" in caplog.text


async def test_a_reload_and_changes_at_once_lose_none_of_both(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        made, *_ = await asyncio.gather(
            asyncio.gather(*(admin.make(f"k{n}") for n in range(3))),  # each keeps a thread
            *(admin.proxy.server.reload() for _ in range(4)),
        )
        assert [await admin.call(secret) for secret in made] == [(200, "")] * 3


async def test_what_cannot_be_written_is_not_in_effect(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob")
        ledger = admin.proxy.data_dir / "ledger.db"
        ledger.rename(ledger.with_name("away.db"))
        with pytest.raises(Failed, match="nothing was changed"):
            await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        assert await admin.call(bob) == (200, "")
        ledger.with_name("away.db").rename(ledger)
        await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        assert await admin.call(bob) == (401, "key_suspended")


def event(text: str) -> bytes:
    return (
        b'data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
        b'"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % text.encode()
    )


async def reading(admin: Desk, secret: str, *, stream: bool, begun: asyncio.Event) -> bytes:
    """All that a caller reads of an answer, to its end or its cut."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{admin.proxy.base_url}/chat/completions",
            json={**CALL, "stream": stream},
            headers={"Authorization": f"Bearer {secret}"},
        ) as response,
    ):
        read = b""
        try:
            async for piece in response.content.iter_any():
                read += piece
                begun.set()
        except aiohttp.ClientPayloadError:
            read += b"<cut>"
        return read


@pytest.mark.parametrize("shape", ["between events", "inside an event", "no answer yet"])
@pytest.mark.parametrize("closes", ["key suspend", "key revoke", "team suspend"])
async def test_what_runs_ends_with_its_key_is_told_why_and_booked_as_cut(
    tmp_path: Path, shape: str, closes: str
) -> None:
    release = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        if shape == "no answer yet":
            await release.wait()
        half = event("never whole")[:40] if shape == "inside an event" else b""
        await visit.stream(event("some words") + half, end=False)
        await release.wait()
        await visit.send(b"0\r\n\r\n")

    async with desk_of(slowly, tmp_path) as admin, guard():
        await admin.ask("POST", TEAMS_PATH, {"name": "lab"}, TeamView)
        stopped = await admin.make("bob", team="lab")
        begun, other = asyncio.Event(), asyncio.Event()
        mine = asyncio.create_task(reading(admin, stopped, stream=True, begun=begun))
        alices = asyncio.create_task(reading(admin, KEY, stream=True, begun=other))
        await until(lambda: len(admin.proxy.server.services.exchanges) == 2)
        if shape != "no answer yet":
            await begun.wait()
        kind, verb = closes.split()
        path = f"{KEYS_PATH}/bob" if kind == "key" else f"{TEAMS_PATH}/lab"
        done = await (
            admin.ask("DELETE", f"{path}?cut=true", {"reason": "leaked"}, Done)
            if verb == "revoke"
            else admin.ask("POST", f"{path}/{verb}?cut=true", {"reason": "leaked"}, Done)
        )
        assert done.ended == 1
        read = await mine
        code = b"key_revoked" if verb == "revoke" else b"key_suspended"
        if shape == "inside an event":
            assert read.startswith(event("some words")) and read.endswith(b"<cut>")
        else:
            assert code in read and not read.endswith(b"<cut>")
        [row] = await booked(admin, "bob")
        assert row["outcome"] == "cut" and row["output_tokens"]
        assert not alices.done()
        release.set()
        assert event("some words") in await alices


async def booked(admin: Desk, key: str) -> list[dict[str, object]]:
    """The records of one key, once there is one."""
    return await until(lambda: [row for row in admin.proxy.rows() if row["key_id"] == key])


@pytest.mark.parametrize("known", [False, True], ids=["a new head", "a known head"])
@pytest.mark.parametrize("cut", ["false", "true"], ids=["without cut", "with cut"])
async def test_a_request_whose_body_still_comes_when_its_key_is_closed_is_not_sent(
    tmp_path: Path, known: bool, cut: str
) -> None:
    visits: list[Visit] = []

    async def script(visit: Visit) -> None:
        visits.append(visit)
        await visit.answer(ANSWER)

    body = json.dumps(CALL).encode()
    async with desk_of(script, tmp_path) as admin, guard():
        secret = await admin.make("bob")
        client = await RawClient.connect(admin.proxy.address)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {secret}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        for _ in range(2 if known else 0):
            await client.send(head + body)
            assert (await client.answer()).status == 200
        await client.send(head + body[:9])
        await until(lambda: admin.proxy.server.services.arriving.count)
        await admin.ask("POST", f"{KEYS_PATH}/bob/suspend?cut={cut}", {})
        await client.send(body[9:])
        for _ in range(2):
            answer = await client.answer()
            assert answer.status == 401 and b"key_suspended" in answer.body
            await client.send(head + body)
        assert (await client.answer()).status == 401
        await client.aclose()
        await admin.proxy.records(len(visits))
    assert len(visits) == (2 if known else 0)


async def test_a_request_that_was_stopped_is_not_sent_again_without_its_question(
    tmp_path: Path,
) -> None:
    visits: list[Visit] = []
    closed = asyncio.Event()

    async def script(visit: Visit) -> None:
        visits.append(visit)
        await closed.wait()
        await visit.answer(b'{"error":{"message":"stream_options"}}', status="400 Bad Request")

    async with desk_of(script, tmp_path) as admin, guard():
        mock = admin.proxy.server.snapshot.upstreams["mock"].settings
        settings = config(mock.base_url)
        settings["upstreams"] = {
            "mock": {"base_url": mock.base_url, "api_key": "x", "stream_usage": "inject"}
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        await admin.proxy.server.reload()
        secret = await admin.make("bob")
        asked = asyncio.create_task(reading(admin, secret, stream=True, begun=asyncio.Event()))
        await until(lambda: visits)
        done = await admin.ask("POST", f"{KEYS_PATH}/bob/suspend?cut=true", {}, Done)
        closed.set()
        assert done.ended == 1
        assert b"key_suspended" in await asked
        [row] = await booked(admin, "bob")
    assert row["outcome"] == "cut"
    assert len(visits) == 1


async def test_without_cut_what_runs_goes_on_to_its_end(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await visit.stream(event("first"), end=False)
        await release.wait()
        rest = event("last") + b"data: [DONE]\n\n"
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

    async with desk_of(slowly, tmp_path) as admin, guard():
        begun = asyncio.Event()
        alices = asyncio.create_task(reading(admin, KEY, stream=True, begun=begun))
        await begun.wait()
        done = await admin.ask("POST", f"{KEYS_PATH}/alice/suspend", {}, Done)
        assert done.ended == 0
        release.set()
        assert event("last") in await alices
        [row] = await booked(admin, "alice")
        assert row["outcome"] == "completed"


async def test_a_limit_that_comes_again_counts_what_passed_without_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        five = {"says": {"limits": ["5 requests/day"]}}
        bob = await admin.make("bob", **five["says"])
        assert [(await admin.call(bob))[0] for _ in range(2)] == [200, 200]
        await admin.ask("PATCH", f"{KEYS_PATH}/bob", {"says": {"limits": []}})
        assert [(await admin.call(bob))[0] for _ in range(4)] == [200] * 4
        await admin.ask("PATCH", f"{KEYS_PATH}/bob", five)
        assert (await admin.call(bob))[0] == 429


async def test_a_limit_whose_use_cannot_be_read_leaves_nothing_written(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob")
        services = admin.proxy.server.services
        # The part that reads the book fails, and the part that writes it does not.
        away = connect_reader("sqlite:nowhere.db", tmp_path)
        reader, services.reader = services.reader, away
        with pytest.raises(Failed, match="nothing was changed"):
            await admin.ask("PATCH", f"{KEYS_PATH}/bob", {"says": {"limits": ["1 requests/day"]}})
        services.reader = reader
        assert [(await admin.call(bob))[0] for _ in range(2)] == [200, 200]
        assert [row["action"] for row in admin.proxy.query("SELECT * FROM audit")] == ["key.create"]
        await admin.ask("PATCH", f"{KEYS_PATH}/bob", {"says": {"limits": ["2 requests/day"]}})
        assert (await admin.call(bob))[0] == 429
    async with desk(tmp_path) as admin:
        assert (await admin.call(bob))[0] == 429


async def test_a_request_that_waits_for_its_turn_ends_too_and_is_not_sent(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await visit.stream(event("some words"), end=False)
        await release.wait()
        await visit.send(b"0\r\n\r\n")

    async with desk_of(slowly, tmp_path, connections_max_upstream=1) as admin, guard():
        stopped = await admin.make("bob")
        begun, never = asyncio.Event(), asyncio.Event()
        alices = asyncio.create_task(reading(admin, KEY, stream=True, begun=begun))
        await begun.wait()
        mine = asyncio.create_task(reading(admin, stopped, stream=True, begun=never))
        await until(lambda: admin.proxy.server.services.waiting)
        done = await admin.ask("POST", f"{KEYS_PATH}/bob/suspend?cut=true", {}, Done)
        assert done.ended == 1
        assert b"key_suspended" in await mine
        assert not admin.proxy.server.services.waiting
        release.set()
        assert event("some words") in await alices
        [row] = await admin.proxy.records(1)
        assert row["key_id"] == "alice"
