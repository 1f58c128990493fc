"""Operators are told of crossings, keys, prices and faults by the running proxy, each once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from proxy.notify.posting import Poster
from proxy.server import lifecycle, notices
from tests.dataplane.test_hold import ask, limited, post, stating
from tests.notify.receiver import Hook, hook
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import until

LOOK_S = 0.02


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notices, "LOOK_S", LOOK_S)
    yield


def data(there: Hook) -> list[dict[str, object]]:
    return [post.json["data"] for post in there.posts]  # type: ignore[misc]


def of(there: Hook, kind: str) -> list[dict[str, object]]:
    return [post.json["data"] for post in there.posts if post.json["type"] == kind]  # type: ignore[misc]


async def test_200_requests_that_cross_at_once_are_told_once(tmp_path: Path) -> None:
    limit = {"limit": "1_000 tokens/day", "name": "soft", "enforce": "warn", "warn_at": ["80%"]}
    async with raw_upstream(stating(5, 5)) as upstream, hook() as there, hook() as team:
        said = limited(
            upstream.url,
            limit,
            notify=[{"url": there.url}],
            teams={"research": {"notify": [{"url": team.url, "events": ["limit_reached"]}]}},
        )
        async with running(tmp_path, said) as proxy:
            await asyncio.gather(*(post(proxy, ask()) for _ in range(200)))
            await proxy.records(200)
            await until(lambda: of(there, "limit_reached") and team.posts)
        async with running(tmp_path, said) as proxy:
            await post(proxy, ask())
            await proxy.records(201)
        assert len(of(there, "limit_reached")) == 1 and len(of(there, "limit_near")) <= 1
        assert team.types() == ["limit_reached"]
        [told] = data(team)
        assert (told["limit"], told["team"], told["share"]) == ("soft", "research", "100%")


async def test_a_budget_that_was_reached_before_anybody_could_be_told_is_told_at_the_start(
    tmp_path: Path,
) -> None:
    """As after a crash between the crossing and its note: the quota itself warns of it no more."""
    async with raw_upstream(stating(60, 40)) as upstream, hook() as there:
        limit = {"limit": "100 tokens/total", "warn_at": ["50%", "90%"]}
        async with running(tmp_path, limited(upstream.url, limit)) as proxy:
            await post(proxy, ask())
            await proxy.records(1)
        for _ in range(2):
            said = limited(upstream.url, limit, notify=[{"url": there.url}])
            async with running(tmp_path, said):
                await until(lambda: there.posts)
        assert there.types() == ["limit_reached"], "the highest share that was reached"


async def test_a_limit_that_a_reload_makes_is_looked_at(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(60, 40)) as upstream,
        hook() as there,
        running(tmp_path, limited(upstream.url, notify=[{"url": there.url}])) as proxy,
    ):
        await post(proxy, ask())
        await proxy.records(1)
        said = limited(upstream.url, "90 tokens/day", notify=[{"url": there.url}])
        (tmp_path / "config.yaml").write_text(json.dumps(said))
        await proxy.server.reload()
        await until(lambda: of(there, "limit_reached"))


async def test_another_month_is_told_anew(tmp_path: Path) -> None:
    async with raw_upstream(stating(60, 40)) as upstream, hook() as there:
        said = limited(
            upstream.url, {"limit": "100 tokens/month", "enforce": "warn"},
            notify=[{"url": there.url, "events": ["limit_reached"]}], timezone="Pacific/Auckland",
        )  # fmt: skip
        async with running(tmp_path, said) as proxy:
            for days in (0, 31, 62):
                later_ms = days * 86_400_000
                proxy.server.services.now_ms = lambda ms=later_ms: time.time_ns() // 1_000_000 + ms
                for _ in range(3):
                    await post(proxy, ask())
                await until(lambda count=days // 31 + 1: len(there.posts) >= count)
        resets = [str(told["resets_at"]) for told in data(there)]
        assert len(set(resets)) == 3 and len(resets) == 3
        assert all(
            one[8:19] == "01T00:00:00" and one[19:] in ("+13:00", "+12:00") for one in resets
        )


async def test_a_rate_is_not_told(tmp_path: Path) -> None:
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there:
        rate = {"limit": "1 requests/minute", "enforce": "warn"}
        day = {"limit": "2 requests/day", "enforce": "warn"}
        async with running(
            tmp_path, limited(upstream.url, rate, day, notify=[{"url": there.url}])
        ) as proxy:
            for _ in range(3):
                await post(proxy, ask())
            await until(lambda: of(there, "limit_reached"))
            assert [told["rule"] for told in of(there, "limit_reached")] == ["2 requests/day"]


async def test_a_model_without_a_price_is_told_once(tmp_path: Path) -> None:
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there:
        said = config(upstream.url, notify=[{"url": there.url}])
        for _ in range(2):
            async with running(tmp_path, said) as proxy:
                for model in ("m-1", "m-2", "m-1"):
                    await post(proxy, ask(model))
                await until(lambda: len(there.posts) >= 2)
        assert sorted(str(told["model"]) for told in of(there, "unpriced_model")) == ["m-1", "m-2"]


async def test_a_name_that_no_vendor_knows_is_not_told(tmp_path: Path) -> None:
    """Clients could make up as many as they like, with any text in them."""

    async def unknown(visit: Visit) -> None:
        if b"CANARY" in visit.body:
            await visit.answer(b'{"error":{"message":"no such model"}}', status="404 Not Found")
        else:
            await stating(1, 1)(visit)

    async with raw_upstream(unknown) as upstream, hook() as there:
        async with running(tmp_path, config(upstream.url, notify=[{"url": there.url}])) as proxy:
            for model in ("CANARY-1", "CANARY-2", "m-1"):
                await post(proxy, ask(model))
            await until(lambda: there.posts)
        assert [told["model"] for told in data(there)] == ["m-1"]


async def test_a_key_that_expires_is_told_to_its_team_too(tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=30)).isoformat(timespec="seconds")
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there, hook() as team:
        said = config(
            upstream.url,
            notify=[{"url": there.url}],
            teams={"research": {"notify": [{"url": team.url}]}},
            keys={"alice": {"team": "research", "secret": "sk-test", "expires": soon}},
        )
        for _ in range(2):
            async with running(tmp_path, said):
                await until(lambda: there.posts and team.posts)
        assert there.types() == team.types() == ["key_expiring"]
        assert data(team)[0]["key"] == "alice"


async def test_a_vendor_that_rejects_the_operators_key_is_told_once_a_day(tmp_path: Path) -> None:
    async def reject(visit: Visit) -> None:
        await visit.answer(
            b'{"error":{"message":"bad key sk-upstream"}}', status="401 Unauthorized"
        )

    async with raw_upstream(reject) as upstream, hook() as there:
        said = config(upstream.url, notify=[{"url": there.url}])
        for key in ("sk-upstream", "sk-upstream", "sk-another"):
            said["upstreams"]["mock"]["api_key"] = key  # type: ignore[index]
            async with running(tmp_path, said) as proxy:
                for _ in range(3):
                    await post(proxy, ask())
                await until(lambda count=1 + (key == "sk-another"): len(there.posts) >= count)
        assert there.types() == ["upstream_credential_rejected"] * 2
        assert b"sk-" not in b"".join(post.body for post in there.posts)


async def test_a_ledger_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "BEHIND_S", 0.05)
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there:
        said = config(upstream.url, notify=[{"url": there.url, "events": ["ledger_behind"]}])
        async with running(tmp_path, said) as proxy:
            path, away = proxy.data_dir / "ledger.db", proxy.data_dir / "away"
            path.rename(away)
            await post(proxy, ask())
            await until(lambda: there.posts)
            assert data(there)[0]["backlog_records"] == 1
            away.rename(path)
            await proxy.records(1)
        assert len(there.posts) == 1, "once an hour, while it lasts"


async def test_a_receiver_that_hangs_holds_up_neither_requests_nor_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TELL_AT_STOP_S", 0.05)
    monkeypatch.setattr(Poster.__init__, "__defaults__", (600.0,))  # else its timeout ends the wait
    ended = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    async with raw_upstream(stating(1, 1)) as upstream, hook() as there:
        there.answers = [hang]
        said = limited(upstream.url, "1 requests/total", notify=[{"url": there.url}])
        async with running(tmp_path, said) as proxy:
            await post(proxy, ask())
            await until(lambda: there.posts)
            assert (await post(proxy, ask())).status == 429
        first = there.posts[0].id
        async with running(tmp_path, said):
            await until(lambda: len(there.posts) >= 2)
        ended.set()
        assert [post.id for post in there.posts if post.id == first] == [first] * 2


async def test_a_fault_of_ours_in_a_notice_stops_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(notices, "limit_crossed", fail)
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there:
        said = limited(
            upstream.url,
            {"limit": "1 requests/total", "enforce": "warn"},
            notify=[{"url": there.url}],
        )
        async with running(tmp_path, said) as proxy:
            await post(proxy, ask())
            await until(lambda: "notices failed" in caplog.text)
            assert (await post(proxy, ask())).status == 200
            await until(lambda: of(there, "unpriced_model"))


async def test_nothing_of_a_request_leaves(tmp_path: Path) -> None:
    async with raw_upstream(stating(1, 1)) as upstream, hook() as there, hook() as chat:
        said = limited(
            upstream.url,
            "1 requests/total",
            notify=[{"url": there.url}, {"url": chat.url, "format": "slack"}],
            privacy={"end_user": "plain"},
        )
        async with running(tmp_path, said) as proxy:
            await post(
                proxy,
                ask(
                    user="CANARY-user",
                    metadata={"feature": "CANARY-tag"},
                    messages=[{"role": "user", "content": "CANARY-prompt"}],
                ),
            )
            await until(
                lambda: of(there, "limit_reached") and of(there, "unpriced_model") and chat.posts
            )
        sent = b"".join(
            post.body + repr(post.headers).encode() for post in (*there.posts, *chat.posts)
        )
        assert b"CANARY" not in sent and b"sk-test" not in sent and b"sk-upstream" not in sent
