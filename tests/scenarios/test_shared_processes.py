"""Limits over two processes on one ledger and one quota: exact at once, and after a kill."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import pytest
import yaml

from proxy.ledger import Reader, connect_reader
from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_instances import becomes, place
from tests.scenarios.test_postgresql_ledger import answer, asked, requests, tollkeeper
from tests.support.postgres import postgres
from tests.support.process import Process, proxy_process
from tests.support.raw import raw_upstream
from tests.support.valkey import valkey_server
from tests.support.waiting import until

pytestmark = pytest.mark.whole  # processes and servers of their own

SECRET = "sk-alice-9b1c"
AT_ONCE = 100
LIMIT = 137


def shared(ledger: str, quota: str, limit: str) -> dict[str, object]:
    return {
        "ledger": {"url": ledger},
        "quota": {"url": quota, "timeout": "30s"},
        "prices": PRICES,
        "teams": {"research": {"limits": [{"limit": limit, "enforce": "strict"}]}},
        "keys": {"alice": {"team": "research", "secret": SECRET}},
    }


@contextmanager
def process(root: Path, name: str, upstream: str, blocks: dict[str, object]) -> Iterator[Process]:
    directory = root / name
    if not directory.exists():
        place(root, name)
    with proxy_process(directory, upstream, instance=name, **blocks) as proxy:
        yield proxy


def counted(directory: Path) -> tuple[int, int]:
    """How many requests the limit says are used and held, over all processes."""
    found = json.loads(tollkeeper(directory, "limit", "list", "-c", "config.yaml", "--json"))
    [one] = [row for row in found if row["id"] == "team:research/requests/day"]
    return int(one["used"]), int(one["held"])


def booked(reader: Reader) -> int:
    return int(reader.usage([], None, None, UTC)[0]["requests"] or 0)


async def test_of_two_processes_at_once_exactly_as_many_pass_as_a_limit_has(tmp_path: Path) -> None:
    url = postgres().database()
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        blocks = shared(url, valkey.url, f"{LIMIT} requests/day")
        async with raw_upstream(answer) as upstream:
            with (
                process(tmp_path, "one", upstream.url, blocks) as first,
                process(tmp_path, "two", upstream.url, blocks) as second,
            ):
                asking = [asked(one, SECRET) for one in (first, second) for _ in range(AT_ONCE)]
                statuses = await asyncio.gather(*asking)
                assert statuses.count(200) == LIMIT
                assert statuses.count(429) == 2 * AT_ONCE - LIMIT
                reader = connect_reader(url, tmp_path)
                await until(lambda: requests(reader) == LIMIT)
                assert counted(tmp_path / "one") == counted(tmp_path / "two") == (LIMIT, 0)


async def test_what_a_killed_process_held_is_counted_as_it_is_booked(tmp_path: Path) -> None:
    url = postgres().database()
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        blocks = shared(url, valkey.url, "1000 requests/day")
        async with raw_upstream(answer) as upstream:
            with process(tmp_path, "one", upstream.url, blocks) as first:
                with process(tmp_path, "two", upstream.url, blocks) as second:
                    burst = [
                        asyncio.create_task(asked(one, SECRET, model))
                        for one in (first, second)
                        for model in ["m-1"] * 50 + ["m-slow"] * 10 * (one is second)
                    ]
                    # It is killed with streams that run, and others on their way.
                    await until(lambda: sum(b"m-slow" in one.body for one in upstream.visits) >= 5)
                for one in burst[50:]:
                    one.cancel()
                assert [await one for one in burst[:50]] == [200] * 50
                await asyncio.gather(*burst, return_exceptions=True)
                with process(tmp_path, "two", upstream.url, blocks):
                    reader = connect_reader(url, tmp_path)
                    until_s = asyncio.get_running_loop().time() + 120
                    while True:
                        used, held = await asyncio.to_thread(counted, tmp_path / "one")
                        if held == 0 and used == booked(reader) >= 55:
                            break
                        assert asyncio.get_running_loop().time() < until_s, (used, held)


async def test_a_limit_that_one_process_drops_holds_at_the_other_and_when_it_is_back(
    tmp_path: Path,
) -> None:
    url, words = postgres().database(), tmp_path / "one" / "config.yaml"
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        blocks = shared(url, valkey.url, "3 requests/day")
        async with raw_upstream(answer) as upstream:
            with (
                process(tmp_path, "one", upstream.url, blocks) as first,
                process(tmp_path, "two", upstream.url, blocks) as second,
            ):
                assert [await asked(first, SECRET) for _ in range(4)] == [200, 200, 200, 429]
                before = words.read_text()
                words.write_text(
                    yaml.safe_dump(yaml.safe_load(before) | {"teams": {"research": {}}})
                )
                first.signal(signal.SIGHUP)
                await becomes(first, SECRET, 200)
                assert await asked(second, SECRET) == 429
                words.write_text(before)
                first.signal(signal.SIGHUP)
                await becomes(first, SECRET, 429)
                assert counted(tmp_path / "two")[0] >= 3
