"""What the metrics say is what the ledger says, to the token and the nano-unit; and nobody can make
up series."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxy.ledger import connect_reader
from proxy.scripted_upstream import Script, serving
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, Running, config, running

KEYS = {"alice": ("research", KEY), "bob": ("ops", "sk-bob"), "carol": (None, "sk-carol")}
MODELS = (
    "demo-chat",
    "demo-reports",
    "demo-silent",
    "demo-cumulative",
    "demo-reasoning",
    "demo-tools",
    "demo-cut:2",
    "demo-error-429",
    "demo-error-500",
    "deepseek-chat",
    "gpt-4o",
    "stated",
    "embed",
)
UNPRICED = ("demo-tools", "embed")
TOKENS = {
    "input_tokens_total": "input_tokens", "output_tokens_total": "output_tokens", "cached_input_tokens_total": "cached_tokens",
    "cache_write_input_tokens_total": "cache_write_tokens", "cache_write_long_input_tokens_total": "cache_write_long_tokens",
    "searches_total": "searches", "reasoning_output_tokens_total": "reasoning_tokens",
}  # fmt: skip
AT_ONCE = 24


async def stated(visit: Visit) -> None:
    """Every kind of token that a metric counts apart."""
    usage = b'{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":20,"cache_write_tokens_details":{"ttl_30m_tokens":13,"ttl_12h_tokens":7}},"server_tool_use":{"web_search_requests":3},"completion_tokens_details":{"reasoning_tokens":11}}'
    await visit.answer(
        b'{"id":"1","object":"chat.completion","model":"stated","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":%s}'
        % usage
    )


def settings(upstream: str, second: str, **blocks: object) -> dict[str, object]:
    """Every model is named by a price or a route, so that each is a label of its own."""
    return config(
        upstream,
        upstreams={"mock": {"base_url": upstream, "api_key": "sk-up"}, "second": {"base_url": second, "api_key": "sk-up"}},
        routes=[{"model": "stated", "upstream": "second"}, *({"model": model, "upstream": "mock"} for model in UNPRICED), {"model": "*", "upstream": "mock"}],
        prices=[{"model": model, "input": "0.27", "cached": "0.07", "output": "1.1", "currency": "USD" if model != "gpt-4o" else "CNY", "from": "2020-01-01"} for model in MODELS if model not in UNPRICED],
        fx={"CNY": [{"rate": "0.1391", "from": "2020-01-01"}]},
        currency="USD",
        teams={"research": {"markup": "0.0333"}, "ops": {}},
        keys={name: {"secret": secret, **({} if team is None else {"team": team})} for name, (team, secret) in KEYS.items()},
        **blocks,
    )  # fmt: skip


async def many(work: Callable[[int], Coroutine[None, None, None]], count: int) -> None:
    """So many of them, some at a time."""
    numbers = iter(range(count))

    async def one_by_one() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_by_one())


async def page(proxy: Running) -> dict[str, Metric]:
    async with aiohttp.ClientSession() as session, session.get(proxy.metrics_url) as answer:
        return {
            family.name.removeprefix("tollkeeper_"): family
            for family in text_string_to_metric_families(await answer.text())
        }


def samples(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """The samples of a counter or gauge that are not zero, by their label values in alphabetical
    order of the labels."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for sample in families[name.removesuffix("_total")].samples
        if sample.value
    }


def nano(amounts: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], int]:
    return {labels: round(value * 10**9) for labels, value in amounts.items()}


def ledger(
    rows: list[dict[str, object]], column: str | None, *labels: str
) -> dict[tuple[str, ...], int]:
    """The records' sums by the columns named, what is not known left out; without a column their
    number."""
    sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for row in rows:
        amount = 1 if column is None else row[column]
        if isinstance(amount, int) and amount:
            sums[tuple("" if row[label] is None else str(row[label]) for label in labels)] += amount
    return dict(sums)


async def load(proxy: Running, count: int) -> None:
    """Mixed requests of all keys and models, streamed and not, some by clients that leave; the same
    ones each time."""
    chance = random.Random(6)
    plan = [
        (
            chance.choice(list(KEYS)),
            chance.choice(MODELS),
            chance.random() < 0.5,
            chance.random() < 0.05,
            chance.randint(1, 30),
        )
        for _ in range(count)
    ]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(number: int) -> None:
            key, model, stream, leaves, words = plan[number]
            headers = {"Authorization": f"Bearer {KEYS[key][1]}"}
            if model == "embed":
                async with session.post(
                    f"{proxy.base_url}/embeddings",
                    json={"model": model, "input": "word " * words},
                    headers=headers,
                ) as answer:
                    await answer.read()
                return
            body = {
                "model": model,
                "messages": [{"role": "user", "content": "word " * words}],
                "stream": stream and model != "stated",
                **({"stream_options": {"include_usage": True}} if stream and words % 2 else {}),
            }
            try:
                async with session.post(
                    f"{proxy.base_url}/chat/completions", json=body, headers=headers
                ) as answer:
                    await (answer.content.readany() if leaves else answer.read())
            except aiohttp.ClientError:
                assert model == "demo-cut:2"

        await many(send, count)


async def check_metrics_are_the_ledger(directory: Path, count: int) -> None:
    async with (
        serving(Script()) as upstream,
        raw_upstream(stated) as second,
        running(directory, settings(upstream.base_url, second.url)) as proxy,
    ):
        await load(proxy, count)
        rows = await proxy.records(count)
        families = await page(proxy)
        of = ("key_id", "model_requested", "team", "upstream")
        for metric, column in TOKENS.items():
            assert ledger(rows, column), f"the load has nothing for {metric}"
            assert samples(families, metric) == ledger(rows, column, *of), metric
        for metric, column in (("cost_total", "cost_nano"), ("charge_total", "charge_nano")):
            assert nano(samples(families, metric)) == ledger(rows, column, "currency", *of), metric
        for row in rows:
            row["status"] = "none" if row["status"] is None else row["status"]
        assert samples(families, "requests_total") == ledger(
            rows, None, "status", "key_id", "model_requested", "outcome", "team", "upstream"
        )
        assert samples(families, "usage_source_total") == ledger(
            rows, None, "model_requested", "source", "upstream"
        )
        assert samples(families, "unpriced_requests_total") == ledger(
            [row for row in rows if row["cost_nano"] is None], None, "model_requested"
        )
        assert len(rows) == sum(samples(families, "requests_total").values()) == count
    # The counters begin anew; the gauges go on, and say what `tollkeeper usage` says.
    async with (
        serving(Script()) as upstream,
        raw_upstream(stated) as second,
        running(directory, settings(upstream.base_url, second.url)) as proxy,
    ):
        families = await page(proxy)
        assert samples(families, "requests_total") == {}
        usage = connect_reader("sqlite:ledger.db", proxy.data_dir).usage(
            ("team",), None, None, proxy.server.snapshot.zone
        )
        charge = {
            (str(row["currency"]), period, str(row["team"] or "")): row["charge_nano"]
            for row in usage
            if row["charge_nano"]
            for period in ("day", "month")
        }
        assert nano(samples(families, "period_charge")) == charge
        tokens = ledger(
            [
                {**row, "tokens": (row["input_tokens"] or 0) + (row["output_tokens"] or 0)}
                for row in rows
            ],
            "tokens",
            "team",
        )
        assert samples(families, "period_tokens") == {
            (period, team): total
            for (team,), total in tokens.items()
            for period in ("day", "month")
        }


async def test_after_mixed_requests_the_metrics_are_the_ledger(tmp_path):
    await check_metrics_are_the_ledger(tmp_path, 400)


@pytest.mark.campaign
async def test_after_twenty_thousand_mixed_requests_the_metrics_are_the_ledger(tmp_path):
    await check_metrics_are_the_ledger(tmp_path, 20_000)


async def check_made_up_models_make_no_series(directory: Path, count: int) -> None:
    """Half of the names the upstream answers, so the first are learned; then the cap holds. What it
    refuses is never a label. What the configuration names keeps its series."""
    cap = 50
    async with (
        serving(Script()) as upstream,
        running(
            directory,
            settings(
                upstream.base_url,
                upstream.base_url,
                metrics={"listen": "127.0.0.1:0", "max_series": cap},
            ),
        ) as proxy,
    ):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(model: str) -> None:
                body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
                async with session.post(
                    f"{proxy.base_url}/chat/completions",
                    json=body,
                    headers={"Authorization": f"Bearer {KEY}"},
                ) as answer:
                    assert answer.status == (404 if model.startswith("demo-error") else 200)
                    await answer.read()

            await ask("gpt-4o")
            await many(
                lambda number: ask(f"junk-{number}" if number % 2 else f"demo-error-404:{number}"),
                count,
            )
            await ask("gpt-4o")
        rows = await proxy.records(count + 2)
        families = await page(proxy)
    for name, family in families.items():
        labels = {
            tuple(sorted((label, value) for label, value in sample.labels.items() if label != "le"))
            for sample in family.samples
        }
        assert len(labels) <= (cap + 2) * (5 if name == "usage_source" else 1), (
            f"{name} has {len(labels)} combinations"
        )
    requests = samples(families, "requests_total")
    assert requests["200", "alice", "gpt-4o", "completed", "research", "mock"] == 2
    assert not [labels for labels in requests if "demo-error" in labels[2]]
    assert sum(requests.values()) == count + 2
    assert sum(samples(families, "input_tokens_total").values()) == sum(
        row["input_tokens"] for row in rows if row["input_tokens"] is not None
    )
    assert sum(nano(samples(families, "charge_total")).values()) == sum(
        row["charge_nano"] for row in rows if row["charge_nano"] is not None
    )
    assert samples(families, "series_dropped_total")[()] >= count // 2 - cap


async def test_made_up_models_make_no_series(tmp_path):
    await check_made_up_models_make_no_series(tmp_path, 300)


@pytest.mark.campaign
async def test_ten_thousand_made_up_models_make_no_series(tmp_path):
    await check_made_up_models_make_no_series(tmp_path, 10_000)
