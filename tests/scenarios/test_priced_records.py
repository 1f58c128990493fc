"""Each record is priced, end to end: from the config's rows to the ledger, the metrics and the
usage of a team."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC
from pathlib import Path

import pytest
import yaml

from proxy.core.pricing.book import PriceBook
from proxy.ledger import connect_reader
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 400},
}
PRICES = [
    {
        "model": "deepseek-*",
        "upstream": "mock",
        "input": "2",
        "cached": "0.2",
        "output": "8",
        "currency": "CNY",
    },
    {
        "model": "deepseek-*",
        "upstream": "mock",
        "input": "4",
        "output": "16",
        "currency": "CNY",
        "service_tier": "priority",
    },
    {"model": "vision", "input": "1", "output": "1", "image": "0.001"},
    {"model": "cheap", "input": "0.1", "output": "0.1"},
]
BLOCKS = {
    "prices": PRICES,
    "fx": {"CNY": [{"rate": "0.14"}]},
    "teams": {"research": {"markup": "0.05", "labels": {"cost_center": "4711"}}},
}
ORIGINAL = 600 * 2_000 + 400 * 200 + 500 * 8_000


async def answering(visit: Visit) -> None:
    """Answers with the model that `user` names, in the tier that `service_tier` names; errors and
    streams as the model's name says."""
    asked = json.loads(visit.body)
    answer = {
        "id": "1",
        "model": asked.get("user", asked["model"]),
        "choices": [],
        "usage": USAGE,
        "service_tier": asked.get("service_tier", "default"),
    }
    if asked["model"] == "deepseek-broken":
        await visit.answer(b'{"error":{}}', status="400 Bad Request")
    else:
        await visit.answer(json.dumps(answer).encode())


async def ask(proxy: Running, model: str = "deepseek-v3.2", **fields: object) -> RawAnswer:
    body = json.dumps({"model": model, "messages": [], **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-test\r\nContent-Length: {len(body)}\r\n\r\n"
    client = await RawClient.connect(proxy.address)
    try:
        await client.send(head.encode() + body)
        return await client.answer()
    finally:
        await client.aclose()


def money(row: dict[str, object]) -> list[object]:
    return [
        row[name]
        for name in (
            "cost_nano",
            "charge_nano",
            "currency",
            "price_model",
            "price_currency",
            "cost_original_nano",
            "fx_rate",
        )
    ]


async def test_records_metrics_and_usage_say_the_same_amounts(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, **BLOCKS)) as proxy,
    ):
        for model, fields in [
            ("deepseek-v3.2", {}), ("deepseek-v3.2", {"service_tier": "priority"}), ("deepseek-broken", {}), ("unknown", {}), ("deepseek-v3.2", {"user": "cheap"}),
            ("vision", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}] * 2}]}),
        ]:  # fmt: skip
            await ask(proxy, model, **fields)
            await asyncio.sleep(0)
        rows = await proxy.records(6)
        book = proxy.server.snapshot.prices
        usual, priority, broken, unknown, substituted, vision = rows
        assert money(usual) == [
            ORIGINAL * 14 // 100,
            ORIGINAL * 14 * 105 // 10_000,
            "USD",
            "deepseek-*",
            "CNY",
            ORIGINAL,
            "0.14",
        ]
        assert money(priority)[5] == 1_000 * 4_000 + 500 * 16_000
        assert money(broken) == [0, 0, "USD", "deepseek-*", "CNY", 0, "0.14"], (
            "an error for which the vendor states no usage costs nothing"
        )
        assert money(unknown) == [None] * 7 and unknown["price_version"] == book.version
        assert money(substituted)[3] == "deepseek-*", "a row for this upstream before one for any"
        assert money(vision)[0] == 1_500 * 1_000 + 2 * 1_000_000
        assert {row["price_version"] for row in rows} == {book.version}
        terms = connect_reader("sqlite:ledger.db", proxy.data_dir).price_terms(book.version)
        assert terms is not None and PriceBook.from_terms(terms).version == book.version, (
            "the ledger can explain each amount by itself"
        )
        [total] = [
            found
            for found in connect_reader("sqlite:ledger.db", proxy.data_dir).usage(
                ["team"], None, None, UTC
            )
            if found["currency"] == "USD"
        ]
        assert (total["cost_nano"], total["charge_nano"]) == tuple(
            sum(row[name] or 0 for row in rows) for name in ("cost_nano", "charge_nano")
        )  # type: ignore[misc]
        page = proxy.server.services.metrics.render().decode()
        charged = sum(
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith("tollkeeper_charge_total{")
        )
        assert charged == pytest.approx(total["charge_nano"] / 10**9)
        assert (
            'tollkeeper_unpriced_requests_total{model="unknown"} 1.0' in page
            and "tollkeeper_model_substituted_total 1.0" in page
        )


async def test_a_tier_that_the_answer_does_not_name_is_the_dearer_of_asked_and_usual(
    tmp_path: Path,
) -> None:
    async def silent(visit: Visit) -> None:
        await visit.answer(
            json.dumps({"model": "deepseek-v3.2", "choices": [], "usage": USAGE}).encode()
        )

    async with (
        raw_upstream(silent) as upstream,
        running(tmp_path, config(upstream.url, **BLOCKS)) as proxy,
    ):
        for tier in ("priority", "auto", "a tier " * 20_000, 5):
            assert (await ask(proxy, service_tier=tier)).status == 200
        rows = await proxy.records(4)
    assert [(row["service_tier"], row["inconsistent"]) for row in rows] == [
        ("priority", True),
        (None, False),
        (None, False),
        (None, False),
    ]
    assert (
        rows[0]["cost_original_nano"]
        > rows[1]["cost_original_nano"]
        == rows[2]["cost_original_nano"]
        == ORIGINAL
    )


async def test_a_model_without_a_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, **BLOCKS, unpriced="deny")) as proxy,
    ):
        refused = await ask(proxy, "unknown")
        error = json.loads(refused.body)["error"]
        assert (refused.status, error["code"], error["param"]) == (403, "model_not_priced", "model")
        assert (
            "has no price at the upstream `mock`" in error["message"]
            and "Models with a price there: cheap, vision." in error["message"]
        )
        assert upstream.visits == [] and proxy.rows() == [] and proxy.server.open_exchanges == 0
        assert (await ask(proxy)).status == 200
        [row] = await proxy.records(1)
        assert row["cost_nano"] == ORIGINAL * 14 // 100


async def test_a_request_keeps_the_prices_it_was_admitted_under(tmp_path: Path) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def held(visit: Visit) -> None:
        if json.loads(visit.body).get("user") == "slow":
            arrived.set()
            await go_on.wait()
        await visit.answer(
            json.dumps({"model": "deepseek-v3.2", "choices": [], "usage": USAGE}).encode()
        )

    async with (
        raw_upstream(held) as upstream,
        running(tmp_path, config(upstream.url, **BLOCKS)) as proxy,
    ):
        before = proxy.server.snapshot.prices.version
        slow = asyncio.create_task(ask(proxy, user="slow"))
        await arrived.wait()
        changed = config(
            upstream.url, **{**BLOCKS, "prices": [{"model": "*", "input": "1", "output": "1"}]}
        )
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(changed))
        await proxy.server.reload()
        after = proxy.server.snapshot.prices.version
        await ask(proxy)
        go_on.set()
        await slow
        new, old = await proxy.records(2)
        assert (new["price_version"], new["cost_nano"]) == (after, 1_500_000)
        assert (old["price_version"], old["cost_nano"]) == (before, ORIGINAL * 14 // 100)
        queries = connect_reader("sqlite:ledger.db", proxy.data_dir)
        assert None not in (queries.price_terms(before), queries.price_terms(after))


async def test_prices_of_the_bundled_table_hold_where_an_upstream_asks_for_them(
    tmp_path: Path,
) -> None:
    async with raw_upstream(answering) as upstream:
        settings = config(upstream.url)
        settings["upstreams"]["mock"]["price_source"] = "openai"  # type: ignore[index]
        async with running(tmp_path, settings) as proxy:
            await ask(proxy, "gpt-4o")
            [row] = await proxy.records(1)
            assert (row["price_model"], row["price_currency"], row["fx_rate"]) == (
                "gpt-4o",
                "USD",
                None,
            ) and row["cost_nano"] == row["charge_nano"]
            assert re.search(
                rb"(?m)^tollkeeper_prices_updated_timestamp_seconds 1(\.\d+e\+09|\d{9}(\.\d+)?)$",
                proxy.server.services.metrics.render(),
            )
