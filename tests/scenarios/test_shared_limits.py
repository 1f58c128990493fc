"""Two real proxies on one PostgreSQL and one Valkey: a limit holds over both, also over kill -9."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_postgresql_ledger import answer, asked
from tests.support.postgres import postgres
from tests.support.process import Process, proxy_process
from tests.support.raw import raw_upstream
from tests.support.running import KEY
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole


def blocks(server: ValkeyServer, url: str) -> dict[str, object]:
    strict = {"limit": "8 requests/day", "name": "eight", "enforce": "strict"}
    return {
        "ledger": {"url": url},
        "quota": {"url": server.url, "timeout": "10s"},
        "prices": PRICES,
        "teams": {"research": {"limits": [strict, "50 concurrent"]}},
    }


@contextlib.contextmanager
def proxies(
    directories: list[Path], upstream: str, shared: dict[str, object]
) -> Iterator[list[Process]]:
    """One process for each directory; at the end each is killed."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(proxy_process(directory, upstream, instance=f"p{n}", **shared))
            for n, directory in enumerate(directories)
        ]


async def test_a_limit_holds_over_two_processes_and_what_a_killed_one_held_is_counted(
    tmp_path: Path,
) -> None:
    directories = [tmp_path / name for name in ("valkey", "proxies")]
    for directory in directories:
        directory.mkdir()
    url = postgres().database()
    with valkey_server(directories[0]) as server:
        shared = blocks(server, url)
        async with raw_upstream(answer) as upstream:
            with proxies([directories[1]] * 2, upstream.url, shared) as (one, two):
                for proxy in (one, two, one, two):
                    assert await asked(proxy, KEY) == 200
                running = asyncio.create_task(asked(one, KEY, "m-slow"))
                await until(lambda: len(upstream.visits) == 5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            holds = "local n = 0 for _, k in ipairs(redis.call('KEYS', '*:i:*')) do n = n + redis.call('HLEN', k) end return n"
            assert server.ask("EVAL", holds, "0") == b":1\r\n", "the killed one held it"
            with proxies([directories[1]], upstream.url, shared) as (one,):
                await until(lambda: server.ask("EVAL", holds, "0") == b":0\r\n")
                statuses = await asyncio.gather(*(asked(one, KEY) for _ in range(10)))
                assert sorted(statuses) == [200] * 3 + [429] * 7, "five of eight were used"
                server.ask("FLUSHALL")
                async with guard():
                    while (status := await asked(one, KEY)) == 503:
                        await asyncio.sleep(0.05)
                assert status == 429
