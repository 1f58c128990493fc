"""Limits that count each end user, tag or header value apart, through real HTTP.

What people lost elsewhere: an agent's run that eats a team's month, the first requests of a new end
user that all pass at once, a field left out as a way around, counts gone with a restart.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from proxy.admin.tenants import KEYS_PATH
from tests.admin.test_tenants import desk
from tests.dataplane.test_hold import ask, error, stating
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

PRICES = [{"model": "m-*", "input": "1000", "output": "2000"}]


async def call(
    proxy: Running, *headers: str, body: bytes | None = None, key: str = "sk-test"
) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(ask() if body is None else body, headers=headers, key=key)
    answer = await client.answer()
    await client.aclose()
    return answer


def limited(url: str, *limits: object, **blocks: object) -> dict[str, object]:
    team = {"research": {"limits": list(limits)}}
    return config(url, teams=team, prices=PRICES, **blocks)


@pytest.mark.parametrize("enforce", ["warn", "finish", "cut", "strict"])
@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("2 requests/day per header:x-session-id", "x-session-id: s1", "x-session-id: s2"),
        ("2 requests/minute per end_user", "x-end-user: u1", "x-end-user: u2"),
        ("2 requests/month per tag:env", "x-tollkeeper-tags: env=zulu", "x-tollkeeper-tags: env=b"),
    ],
    ids=["header", "end_user", "tag"],
)
async def test_one_value_at_its_limit_keeps_no_other_from_its_own(
    tmp_path: Path, rule: str, first: str, second: str, enforce: str
) -> None:
    limits = {"limit": rule, "enforce": enforce}
    async with (
        raw_upstream(stating(10, 5)) as upstream,
        running(tmp_path, limited(upstream.url, limits)) as proxy,
    ):
        beyond = 200 if enforce == "warn" else 429
        for field in (first, second, "x-other: 1"):  # the last one names no value
            answers = [await call(proxy, field) for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, beyond]
        left = answers[1].header("ratelimit")
        assert left is not None and b";r=0" in left
        if enforce != "warn":
            told = error(answers[2])["message"]
            assert "team research" in told and "name no value" in told
            one = await call(proxy, first)
            assert first.split("=")[-1].split(": ")[-1] not in error(one)["message"].split()


async def test_of_200_at_once_each_value_gets_exactly_its_limit(tmp_path: Path) -> None:
    opened = asyncio.Event()

    async def silent(visit: Visit) -> None:
        await opened.wait()
        await stating(10, 5)(visit)

    rule = {"limit": "7 requests/day", "per": "header:x-run", "enforce": "strict"}
    async with (
        raw_upstream(silent) as upstream,
        running(tmp_path, limited(upstream.url, rule)) as proxy,
    ):
        runs = [f"x-run: r{number % 10}" for number in range(200)]
        calls = [asyncio.create_task(call(proxy, run)) for run in runs]
        await until(lambda: len(upstream.visits) == 70 and sum(it.done() for it in calls) == 130)
        opened.set()
        answers = await asyncio.gather(*calls)
        assert Counter(answer.status for answer in answers) == {200: 70, 429: 130}
        through = Counter(
            run for run, answer in zip(runs, answers, strict=True) if answer.status == 200
        )
        assert set(through.values()) == {7}


async def test_a_restart_keeps_every_count(tmp_path: Path) -> None:
    limits = (
        "2 requests/day per header:x-run",
        "2 requests/day per end_user",
        "2 requests/hour per tag:env",
    )
    callers = [
        ("x-run: r1", "x-end-user: u1", "x-tollkeeper-tags: env=a"),
        ("x-run: r2", "x-end-user: u2", "x-tollkeeper-tags: env=b"),
        ("x-run: " + "y" * 500, "x-end-user: u3", "x-tollkeeper-tags: env=c"),
    ]
    async with raw_upstream(stating(10, 5)) as upstream:
        settings = limited(upstream.url, *limits)
        async with running(tmp_path, settings) as proxy:
            for caller in callers:
                assert (await call(proxy, *caller)).status == 200
            assert (await call(proxy)).status == 200
            rows = await proxy.records(4)
        tags = [json.loads(str(row["tags"])) for row in rows]
        assert tags[0] == {"env": "a", "header:x-run": "r1"} and tags[3] == {}
        assert tags[2]["header:x-run"].startswith("sha256:")
        assert "u1" not in {row["end_user"] for row in rows}, "an end user is booked as a hash"
        async with running(tmp_path, settings) as proxy:
            for caller in (*callers, ()):
                assert [(await call(proxy, *caller)).status for _ in "12"] == [200, 429]
            for place, other in enumerate(callers[0]):  # each of the three is counted for itself
                mixed = [f"x-run: n{place}", f"x-end-user: n{place}", "x-other: 1"]
                mixed[place] = other
                assert (await call(proxy, *mixed)).status == 429


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "x" * 2_000_000},
        {"user": ""},
        {"user": "a\x00b"},
        {"user": None},
        {"metadata": {"env": ""}},
    ],
    ids=["megabytes", "empty", "control", "null", "empty tag"],
)
async def test_an_unusable_value_is_no_way_around_the_cap(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    rule = "2 requests/day per end_user"
    async with (
        raw_upstream(stating(10, 5)) as upstream,
        running(tmp_path, limited(upstream.url, rule)) as proxy,
    ):
        for _ in range(2):
            assert (await call(proxy, body=ask(**fields))).status == 200
        assert (await call(proxy, body=ask(**fields))).status == 429
        assert (await call(proxy)).status == 429, "it is the count of requests without a value"
        assert (await call(proxy, body=ask(user="zoe"))).status == 200


async def test_usage_names_the_rule_and_no_value(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(10, 5)) as upstream,
        running(
            tmp_path,
            limited(
                upstream.url,
                "5 USD/day per end_user",
                "9 requests/day",
                privacy={"end_user": "plain"},
            ),
        ) as proxy,
    ):
        assert (await call(proxy, "x-end-user: zoe-secret")).status == 200
        client = await RawClient.connect(proxy.address)
        await client.send(
            b"GET /v1/usage HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n\r\n"
        )
        answer = await client.answer()
        await client.aclose()
        found = json.loads(answer.body)
        assert found["limits_per_value"] == [
            {
                "id": "team:research/USD/day/per:end_user",
                "rule": "5 USD/day per end_user",
                "enforce": "finish",
            }
        ]
        assert [one["used"] for one in found["limits"]] == [1]
        assert b"zoe-secret" not in answer.body


async def test_a_limit_given_to_a_key_at_run_time_counts_values_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        rule = {"limits": ["1 requests/day per header:x-run"]}
        bob = await admin.make("bob", limits=rule["limits"])
        run = ("x-run: r1",)
        assert [(await call(admin.proxy, *run, key=bob)).status for _ in "12"] == [200, 429]
        assert (await call(admin.proxy, "x-run: r2", key=bob)).status == 200
        await admin.ask("PATCH", f"{KEYS_PATH}/bob", {"says": {"limits": []}})
        assert (await call(admin.proxy, *run, key=bob)).status == 200


@pytest.mark.parametrize("name", ["x-run", "x-request-id", "traceparent"])
async def test_a_known_connection_is_read_anew_for_each_value(tmp_path: Path, name: str) -> None:
    """Heads that differ in nothing but a trace are known again; not where a limit counts it."""
    rule = f"2 requests/day per header:{name}"
    async with (
        raw_upstream(stating(10, 5)) as upstream,
        running(tmp_path, limited(upstream.url, rule)) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        heard = []
        for value in ("aaaa", "bbbb", "aaaa", "bbbb", "aaaa", "bbbb", "cccc"):
            await client.post(ask(), headers=(f"{name}: {value}",))
            heard.append((await client.answer()).status)
        await client.aclose()
        assert heard == [200, 200, 200, 200, 429, 429, 200]


async def test_a_refusal_says_which_limit_and_never_which_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, in the metric and in the book, also for a limit with a name of its own."""
    rules = (
        "1 requests/day per header:x-session-id",
        {"limit": "1 requests/month per header:x-run", "name": "runs"},
    )
    async with raw_upstream(stating(10, 5)) as upstream:
        async with running(tmp_path, limited(upstream.url, *rules)) as proxy:
            for one, other in (("x-session-id", "x-run"), ("x-run", "x-session-id")):
                for n, status in enumerate((200, 429)):
                    answer = await call(proxy, f"{one}: c4n4ry", f"{other}: {n}{one}")
                    assert answer.status == status
            page = proxy.server.services.metrics.render().decode()
        derived = "team:research/requests/day/per:header:x-session-id"
        rows = proxy.query("SELECT key_id, team, limit_id, sum(count) n FROM refusals GROUP BY 3")
        assert {(row["key_id"], row["team"], row["limit_id"], row["n"]) for row in rows} == {
            ("alice", "research", derived, 1),
            ("alice", "research", "runs", 1),
        }
        for limit in (derived, "runs"):
            assert f'key="alice",limit="{limit}",team="research"' in page
        told = [vars(r)["fields"] for r in caplog.records if r.message == "refused"]
        assert [one["limit"] for one in told] == [derived, "runs"]
        assert {(one["key"], one["team"]) for one in told} == {("alice", "research")}
        assert "c4n4ry" not in page + str(told) + str(rows)


async def test_values_beyond_the_bound_of_the_config_share_one_count(tmp_path: Path) -> None:
    rule = "1 requests/day per header:x-session-id"
    async with (
        raw_upstream(stating(10, 5)) as upstream,
        running(tmp_path, limited(upstream.url, rule, quota={"values_max": 2})) as proxy,
    ):
        told = [(await call(proxy, f"x-session-id: {value}")).status for value in "abcda"]
        assert told == [200, 200, 200, 429, 429], "d finds what c has used of the shared count"
