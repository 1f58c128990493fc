"""Operators hear of limits: in the log, in counts, and in gauges at each scrape."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest

from proxy.quota.watch import show_limits
from tests.dataplane.test_hold import ask, limited, post, stating
from tests.support.raw import raw_upstream
from tests.support.running import Running, running
from tests.support.waiting import guard


async def scrape(proxy: Running) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(proxy.metrics_url) as answer:
        return [
            line
            for line in (await answer.text()).splitlines()
            if line.startswith(("tollkeeper_limit", "tollkeeper_strict"))
        ]


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> str:
    async with guard():
        while not (found := [message for message in caplog.messages if text in message]):
            await asyncio.sleep(0.01)
    return found[0]


async def test_a_scrape_shows_each_limit_as_it_stands(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "100 tokens/total", "name": "trial"})
        ) as proxy,
    ):
        await post(proxy, ask())
        await proxy.records(1)
        labels = '{id="alice",limit="trial",per="total",scope="key",unit="tokens"}'
        assert await scrape(proxy) == [
            f"tollkeeper_limit_amount{labels} 100.0",
            f"tollkeeper_limit_used{labels} 10.0",
            f"tollkeeper_limit_held{labels} 0.0",
            'tollkeeper_limit_crossings_total{id="alice",limit="trial",scope="key",share="1"} 0.0',
        ]


async def test_a_share_at_which_to_warn_is_told_once_a_period(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = {
        "limit": "100 tokens/day",
        "name": "soft",
        "enforce": "warn",
        "warn_at": ["80%", "20%"],
    }
    with caplog.at_level(logging.WARNING, "tollkeeper.limits"):
        async with (
            raw_upstream(stating(15, 10)) as upstream,
            running(tmp_path, limited(upstream.url, limit)) as proxy,
        ):
            await post(proxy, ask())
            assert "is used to 20 %: 25 tokens" in await logged(caplog, "20 %")
            for _ in range(4):
                await post(proxy, ask())
            await logged(caplog, "80 %")
            await proxy.records(5)
            crossings = [line for line in await scrape(proxy) if "crossings" in line]
            assert [line.rpartition(" ")[2] for line in crossings if 'share="1"' not in line] == [
                "1.0",
                "1.0",
            ]


async def test_a_vendor_that_bills_beyond_its_cap_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = {"limit": "10_000 tokens/day", "name": "hard", "enforce": "strict"}
    async with (
        raw_upstream(stating(7, 500)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        await post(proxy, ask(max_tokens=5))
        assert "the vendor bills beyond its cap" in await logged(caplog, "strict limit")
        assert [line for line in await scrape(proxy) if "breaches" in line] == [
            'tollkeeper_strict_breaches_total{id="alice",limit="hard",scope="key"} 1.0'
        ]


async def test_many_limits_are_looked_at_in_parts(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(1, 1)) as upstream,
        running(
            tmp_path,
            limited(
                upstream.url, *(f"{number} tokens/day for m-{number}" for number in range(1, 520))
            ),
        ) as proxy,
    ):
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        for number in range(1, 520):
            await post(proxy, ask(f"m-{number}"))
        beside = asyncio.create_task(others())
        await show_limits(proxy.server.services)
        beside.cancel()
        assert turns >= 2
        assert len(proxy.server.services.metrics.limits._states) == 519
