"""What a key may see of itself: its limits, its sums and its records; nothing of others, and no
costs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.dataplane.test_hold import PRICES, ask, post, stating
from tests.support.raw import RawAnswer, RawClient, raw_upstream
from tests.support.running import Running, config, running


def two_keys(url: str, **blocks: object) -> dict[str, object]:
    keys = {
        "alice": {
            "team": "research",
            "secret": "sk-test",
            "limits": ["10 requests/day for m-*", {"limit": "1 USD/total", "name": "trial"}],
        },
        "bob": {"team": "research", "secret": "sk-bob"},
    }
    return config(
        url,
        keys=keys,
        teams={"research": {"markup": "0.10", "limits": ["100 tokens/month"]}},
        prices=PRICES,
        limits=["1000 requests/day"],
        **blocks,
    )


async def get(proxy: Running, path: str, key: str = "sk-test", method: str = "GET") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.send(
        f"{method} {path} HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    answer = await client.answer()
    await client.aclose()
    return answer


async def usage(proxy: Running, key: str = "sk-test") -> dict[str, Any]:
    answer = await get(proxy, "/v1/usage", key)
    assert answer.status == 200 and answer.header("x-tollkeeper-id") is not None
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


async def test_a_key_sees_its_limits_and_its_use(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(4, 3)) as upstream,
        running(tmp_path, two_keys(upstream.url, timezone="Asia/Kolkata")) as proxy,
    ):
        await post(proxy, ask())
        await proxy.records(1)
        found = await usage(proxy)
        assert (found["key"], found["team"], found["timezone"]) == (
            "alice",
            "research",
            "Asia/Kolkata",
        )
        team, requests, trial = found["limits"]
        assert (team["id"], team["rule"], team["amount"], team["used"], team["remaining"]) == (
            "team:research/tokens/month",
            "100 tokens/month",
            100,
            7,
            93,
        )
        assert (
            requests["rule"],
            requests["used"],
            requests["held"],
            requests["enforce"],
            requests["unit"],
        ) == ("10 requests/day for m-*", 1, 0, "finish", "requests")
        assert requests["resets_at"].endswith("T00:00:00+05:30")
        assert (
            trial["id"],
            trial["amount"],
            trial["used"],
            trial["remaining"],
            trial["unit"],
            trial["resets_at"],
        ) == ("trial", "1", "0.011", "0.989", "USD", None)
        [today] = found["recent"]["today"]
        assert today == found["recent"]["month"][0]
        assert (
            today["requests"],
            today["input_tokens"],
            today["output_tokens"],
            today["charge"],
            today["currency"],
        ) == (1, 4, 3, "0.011", "USD")
        assert not [name for name in today if "cost" in name]
        bob = await usage(proxy, "sk-bob")
        assert bob["recent"] == {"today": [], "month": []} and [
            limit["used"] for limit in bob["limits"]
        ] == [7], "of others only the team's sum"


async def test_a_key_sees_its_own_records_only(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(4, 3)) as upstream,
        running(tmp_path, two_keys(upstream.url)) as proxy,
    ):
        id = (await post(proxy, ask(user="someone"))).header("x-tollkeeper-id")
        assert id is not None
        [row] = await proxy.records(1)
        path = f"/v1/usage/records/{id.decode()}"
        found = json.loads((await get(proxy, path)).body)
        assert (
            found["id"],
            found["input_tokens"],
            found["output_tokens"],
            found["charge_nano"],
            found["source"],
        ) == (row["id"], 4, 3, 11_000_000, "reported")
        assert "11000000" not in json.dumps(
            {name: value for name, value in found.items() if name != "charge_nano"}
        )
        assert not {
            "cost_nano",
            "cost_original_nano",
            "price_model",
            "price_version",
            "upstream_account",
            "writer",
        } & set(found)
        for wrong, key in (
            (path, "sk-bob"),
            ("/v1/usage/records/none", "sk-test"),
            (path[:-1] + ("0" if path[-1] != "0" else "1"), "sk-test"),
        ):
            answer = await get(proxy, wrong, key)
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
                404,
                "record_not_found",
            )


@pytest.mark.parametrize(
    ("path", "key", "method", "status"),
    [
        ("/v1/usage", "sk-nobody", "GET", 401),
        ("/v1/usage", "sk-test", "POST", 405),
        ("/usage", "sk-test", "GET", 200),
    ],
)
async def test_it_is_asked_for_as_the_rest_is(
    tmp_path: Path, path: str, key: str, method: str, status: int
) -> None:
    async with running(tmp_path, two_keys("http://127.0.0.1:9/v1")) as proxy:
        assert (await get(proxy, path, key, method)).status == status


async def test_a_ledger_that_cannot_be_read_is_said_and_asked_again(tmp_path: Path) -> None:
    async with running(tmp_path, two_keys("http://127.0.0.1:9/v1")) as proxy:
        ledger = tmp_path / "var" / "ledger.db"
        aside = ledger.with_suffix(".aside")
        ledger.rename(aside)
        answer = await get(proxy, "/v1/usage")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            503,
            "ledger_unavailable",
        )
        aside.rename(ledger)
        assert (await get(proxy, "/v1/usage")).status == 200


async def test_many_askers_ask_the_ledger_once(tmp_path: Path) -> None:
    async with running(tmp_path, two_keys("http://127.0.0.1:9/v1")) as proxy:
        answers = await asyncio.gather(*(get(proxy, "/v1/usage") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        # Of this day and of this month, which begin together on its first day.
        assert len(proxy.server.front.gateway._own_usage.sums._known) in (1, 2)
