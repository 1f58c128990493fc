"""Batches: who may order one, and what they have used is booked once when their vendor says it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.scenarios.test_kept_answers import ask
from tests.support.raw import RawAnswer, Visit, raw_upstream
from tests.support.running import Running, config, running

KEYS = {
    "alice": {"team": "research", "secret": "sk-test", "limits": ["10_000 tokens/day"]},
    "bob": {"team": "sales", "secret": "sk-bob"},
    "narrow": {"team": "research", "secret": "sk-narrow", "models": ["gpt-*", "/v1/batches"]},
    "careful": {
        "team": "sales",
        "secret": "sk-careful",
        "limits": [{"limit": "5 USD/day for gpt-*", "enforce": "strict"}],
    },
}
PRICES = [
    {"model": "gpt-x", "input": "2", "output": "8"},
    {"model": "gpt-x", "input": "1", "cached": "0.5", "output": "4", "service_tier": "batch"},
]
PATH = {"path": "/v1/batches*", "methods": ["GET", "POST"], "upstream": "mock", "charge": "free"}
# As OpenAI states it: zeros under the names of chats beside the counts.
USAGE = {
    "completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 5000, "completion_tokens_details": None,
    "prompt_tokens_details": None, "input_tokens": 4000, "output_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 1000}, "output_tokens_details": {"reasoning_tokens": 300},
}  # fmt: skip
NANO = 3000 * 1000 + 1000 * 500 + 1000 * 4000


def settings(url: str, *prices: dict[str, object], **entry: object) -> dict[str, object]:
    return config(
        url,
        keys=KEYS,
        teams={"research": {}, "sales": {}},
        prices=list(prices or PRICES),
        passthrough=[{**PATH, **entry}],
    )


class Vendor:
    """Makes batches; `state` is what they say of themselves from then on."""

    def __init__(self, **state: object) -> None:
        self.state: dict[str, object] = {"status": "in_progress", "usage": None, **state}
        self.made = 0

    async def script(self, visit: Visit) -> None:
        path = visit.lines[0].split(b" ")[1].decode()
        state = self.state
        if visit.lines[0].startswith(b"POST /v1/batches "):
            self.made += 1
            path = f"/batch_{self.made}"
            state = {"status": "validating", "usage": None}
        id = next(part for part in path.split("/") if part.startswith("batch_"))
        await visit.answer(
            json.dumps({"id": id, "object": "batch", "model": "gpt-x", **state}).encode()
        )

    def ends(self, status: str = "completed", **state: object) -> None:
        self.state = {"status": status, "usage": USAGE, **state}


async def order(proxy: Running, key: str = "sk-test") -> RawAnswer:
    # Without its file: whose that is, is another test's question.
    body = {"endpoint": "/v1/responses", "completion_window": "24h"}
    return await ask(proxy, "POST", "/v1/batches", body, key)


async def look(proxy: Running, key: str = "sk-test") -> int:
    return (await ask(proxy, "GET", "/v1/batches/batch_1", None, key)).status


def told(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row for row in rows if row["kind"] == "adjustment"]


async def used(proxy: Running) -> int:
    services = proxy.server.services
    limits = proxy.server.snapshot.rules.of_tenant("alice", "research")
    (state,) = await services.quota.states(limits, services.now_ms())
    return state.used


@pytest.mark.parametrize("restart", [False, True])
async def test_what_a_batch_used_is_booked_once(tmp_path: Path, restart: bool) -> None:
    vendor = Vendor()
    async with raw_upstream(vendor.script) as upstream:
        async with running(tmp_path, settings(upstream.url)) as proxy:
            assert (await order(proxy)).status == 200
            (made,) = await proxy.records(1)
            assert (made["reason"], made["input_tokens"], made["cost_nano"]) == (
                "later",
                None,
                None,
            )
            assert await look(proxy) == 200
            assert not told(await proxy.records(2))
            if not restart:
                await booked_once(proxy, vendor)
        if restart:
            async with running(tmp_path, settings(upstream.url)) as proxy:
                await booked_once(proxy, vendor)
            async with running(tmp_path, settings(upstream.url)) as proxy:
                assert await look(proxy) == 200
                assert len(told(await proxy.records(8))) == 1
                assert await used(proxy) == 5000


async def booked_once(proxy: Running, vendor: Vendor) -> None:
    vendor.ends()
    assert await look(proxy, "sk-bob") == 404, "only its team may look"
    statuses = await asyncio.gather(*(look(proxy, key) for key in ["sk-test"] * 3 + ["sk-narrow"]))
    assert set(statuses) == {200}
    rows = await proxy.records(7)
    (late,) = told(rows)
    assert (late["reason"], late["source"], late["finish_reason"]) == (
        "late_close",
        "reported",
        "completed",
    )
    assert (late["key_id"], late["model_requested"], late["model_served"]) == (
        "alice",
        "/v1/batches",
        "gpt-x",
    )
    assert (late["input_tokens"], late["cached_tokens"], late["output_tokens"]) == (
        4000,
        1000,
        1000,
    )
    assert (late["service_tier"], late["reasoning_tokens"], late["cost_nano"]) == (
        "batch",
        300,
        NANO,
    )
    assert sum(row["cost_nano"] or 0 for row in rows) == NANO  # type: ignore[misc]
    assert await used(proxy) == 5000


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "cancelled"}, (4000, 1000, NANO, "completed")),
        ({"status": "expired"}, (4000, 1000, NANO, "completed")),
        ({"status": "failed", "usage": None}, (0, 0, 0, "upstream_failed")),
        ({"status": "completed", "usage": None}, None),  # made before September 2025
        ({"status": "cancelling"}, None),
        ({"status": "finalizing"}, None),
        ({"model": "gpt-unknown"}, (4000, 1000, None, "completed")),
        ({"model": None}, (4000, 1000, None, "completed")),
    ],
)  # fmt: skip
async def test_how_a_batch_ended_says_what_is_booked(
    tmp_path: Path, state: dict[str, object], expected: tuple[object, ...] | None
) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        await order(proxy)
        vendor.ends(**{"status": "completed", **state})  # type: ignore[arg-type]
        for _ in range(2):
            assert await look(proxy) == 200
        late = told(await proxy.records(3 if expected is None else 4))
    names = ("input_tokens", "output_tokens", "cost_nano", "outcome")
    assert [tuple(row[name] for name in names) for row in late] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("prices", "cost_nano"),
    [
        (PRICES[:1], None),  # the usual price is not a batch's
        ([{**PRICES[1], "model": "*", "service_tier": "Batch"}], NANO),
        # how long each prompt was is not known
        ([*PRICES, {**PRICES[1], "input": "3", "above_input_tokens": 1000}], None),
    ],
)  # fmt: skip
async def test_only_prices_of_batches_price_one(
    tmp_path: Path, prices: list[dict[str, object]], cost_nano: int | None
) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url, *prices)) as proxy,
    ):
        await order(proxy)
        vendor.ends()
        assert await look(proxy) == 200
        rows = await proxy.records(3)
    (late,) = told(rows)
    assert (late["input_tokens"], late["cost_nano"]) == (4000, cost_nano)
    (made,) = [row for row in rows if row["id"] == late["adjusts"]]
    assert made["cost_nano"] is None, "so that what is unknown stays unknown"


async def test_a_metered_path_books_no_look_at_a_batch(tmp_path: Path) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url, charge="metered")) as proxy,
    ):
        await order(proxy)
        vendor.ends()
        for _ in range(3):
            assert await look(proxy) == 200
        rows = await proxy.records(5)
    assert sum(row["input_tokens"] or 0 for row in rows) == 4000  # type: ignore[misc]


async def test_a_used_up_limit_lets_no_further_batch_begin(tmp_path: Path) -> None:
    vendor = Vendor()
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        await order(proxy)
        vendor.ends(usage={"input_tokens": 9000, "output_tokens": 1000})
        assert await look(proxy) == 200
        refused = await order(proxy)
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (
            429,
            "insufficient_quota",
        )
        assert await look(proxy) == 200, "and what there is can still be read"
    assert vendor.made == 1


@pytest.mark.parametrize("models", ["own", "any"])
async def test_who_is_bound_to_models_or_strictly_orders_no_batch(
    tmp_path: Path, models: str
) -> None:
    vendor = Vendor()
    teams = ["research", "sales"]
    async with (
        raw_upstream(vendor.script) as upstream,
        running(tmp_path, settings(upstream.url, models=models, teams=teams)) as proxy,
    ):
        for key, why in (
            ("sk-narrow", "some models only (gpt-*, /v1/batches)"),
            ("sk-careful", "strict limit"),
        ):
            answer = await order(proxy, key)
            if models == "any":
                assert answer.status == 200
                continue
            error = json.loads(answer.body)["error"]
            assert (answer.status, error["code"]) == (403, "path_not_allowed")
            assert why in error["message"] and "models: any" in error["message"]
        assert vendor.made == (2 if models == "any" else 0)
        for key in ("sk-test", "sk-bob"):
            assert (await order(proxy, key)).status == 200
        cancelled = await ask(proxy, "POST", "/v1/batches/batch_1/cancel", {}, "sk-narrow")
        assert cancelled.status == 200, "it is its team's"


async def test_a_refused_order_uses_nothing(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"error":{"message":"no such file"}}', status="400 Bad Request")

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        assert (await order(proxy)).status == 400
        (row,) = await proxy.records(1)
    assert (row["reason"], row["input_tokens"], row["cost_nano"]) == ("free", 0, 0)
