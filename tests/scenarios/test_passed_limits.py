"""Limits on paths that are passed through, of many requests at once: what the last answers used is
held of the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

IMAGES = {"path": "/v1/images*", "methods": ["POST"], "upstream": "mock", "charge": "metered"}
SPEECH = {
    "path": "/v1/audio/speech", "methods": ["POST"], "upstream": "mock", "charge": "per_request"
}  # fmt: skip
PRICES = [
    {"model": "/v1/images", "input": "1", "output": "10"},
    {"model": "dear", "input": "0", "output": "1000"},
    {"model": "/v1/audio/speech", "input": "0", "output": "0", "request": "0.01"},
]
AT_ONCE = 30


def settings(url: str, *limits: object) -> dict[str, object]:
    return config(
        url,
        passthrough=[IMAGES, SPEECH],
        prices=PRICES,
        keys={"alice": {"secret": "sk-test", "limits": list(limits)}},
        teams={},
    )


def draws(
    gate: asyncio.Event, output_tokens: int, model: str = "m"
) -> Callable[[Visit], Awaitable[None]]:
    """A vendor that states so much of each picture, once the gate is open."""
    usage = {"input_tokens": 0, "output_tokens": output_tokens}

    async def vendor(visit: Visit) -> None:
        await gate.wait()
        await visit.answer(json.dumps({"data": [], "model": model, "usage": usage}).encode())

    return vendor


async def draw(proxy: Running) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    try:
        await client.post(b"{}", path="/v1/images/generations")
        return await client.answer()
    finally:
        await client.aclose()


async def crowd(proxy: Running, arrived: Callable[[], int], gate: asyncio.Event) -> int:
    """So many of a crowd are let through while the vendor keeps silent; then it answers."""
    before = arrived()
    asked = [asyncio.create_task(draw(proxy)) for _ in range(AT_ONCE)]
    await until(lambda: arrived() - before + sum(task.done() for task in asked) == AT_ONCE)
    through = arrived() - before
    gate.set()
    statuses = [answer.status for answer in await asyncio.gather(*asked)]
    assert statuses.count(200) == through and statuses.count(429) == AT_ONCE - through
    return through


async def test_a_crowd_of_which_nothing_is_known_holds_what_any_answer_may_use(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    async with (
        raw_upstream(draws(gate, 1000)) as upstream,
        running(tmp_path, settings(upstream.url, "3000 tokens/day")) as proxy,
    ):
        assert await crowd(proxy, lambda: len(upstream.visits), gate) == 2
        await proxy.records(2)


async def test_a_crowd_holds_what_the_last_answer_used_also_behind_a_restart(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    gate.set()
    async with raw_upstream(draws(gate, 4000)) as upstream:
        limits = settings(upstream.url, "24000 output_tokens/day")
        async with running(tmp_path, limits) as proxy:
            await draw(proxy)
            await proxy.records(1)
        gate.clear()
        async with running(tmp_path, limits) as proxy:
            assert await crowd(proxy, lambda: len(upstream.visits), gate) == 5
            rows = await proxy.records(6)
    assert sum(int(str(row["output_tokens"])) for row in rows) == 24_000


async def test_money_is_held_as_the_last_answer_was_charged_whichever_model_drew_it(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    gate.set()
    async with (
        raw_upstream(draws(gate, 1000, "dear")) as upstream,
        running(tmp_path, settings(upstream.url, "4 USD/day")) as proxy,
    ):
        await draw(proxy)
        await proxy.records(1)
        gate.clear()
        assert await crowd(proxy, lambda: len(upstream.visits), gate) == 3
        rows = await proxy.records(4)
    assert sum(int(str(row["charge_nano"])) for row in rows) == 4 * 10**9


@pytest.mark.parametrize("unit", ["tokens", "input_tokens", "output_tokens", "USD"])
async def test_a_strict_limit_refuses_what_nothing_bounds(tmp_path: Path, unit: str) -> None:
    limit = {"limit": f"100 {unit}/day", "enforce": "strict"}
    gate = asyncio.Event()
    gate.set()
    async with (
        raw_upstream(draws(gate, 1)) as upstream,
        running(tmp_path, settings(upstream.url, limit)) as proxy,
    ):
        refused = await draw(proxy)
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "not_boundable")
        assert upstream.visits == []


async def test_a_used_up_caller_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    async def speaks(visit: Visit) -> None:
        await visit.answer(b"\xff", headers=("Content-Type: audio/mpeg",))

    limits = ("1 requests/day", "0 tokens/day")
    async with (
        raw_upstream(speaks) as upstream,
        running(tmp_path, settings(upstream.url, *limits)) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        head = (
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        await client.send(head % 2 + b"{}")
        assert (await client.answer()).status == 200, "tokens keep nobody from a price per call"
        await client.send(head % 1_000_000)  # and not one byte of the body
        refused = await client.answer()
        assert (refused.status, b"1 requests" in refused.body) == (429, True)
        await client.aclose()
