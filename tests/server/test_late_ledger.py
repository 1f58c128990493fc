"""A start while PostgreSQL is away: who is served, what is refused, and what is made up for."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from proxy.ledger import connect_reader
from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_instances import becomes, begun, outcomes, place
from tests.scenarios.test_postgresql_ledger import answer, asked, requests, tollkeeper
from tests.support.postgres import PostgresServer, programs
from tests.support.process import proxy_process
from tests.support.raw import raw_upstream
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # a server and processes of their own

STRICT = "sk-strict-9b1c"
LIMIT = 8


def blocks(url: str) -> dict[str, object]:
    strict = {"limit": "3 requests/day", "enforce": "strict"}
    return {
        "ledger": {"url": url},
        "prices": PRICES,
        "teams": {"research": {"limits": [f"{LIMIT} requests/day"]}},
        "keys": {"carol": {"secret": STRICT, "limits": [strict]}},
    }


def used(directory: Path, id: str) -> tuple[int, int]:
    found = json.loads(tollkeeper(directory, "limit", "list", "-c", "config.yaml", "--json"))
    [one] = [row for row in found if row["id"] == id]
    return int(one["used"]), int(one["held"])


async def test_a_process_starts_by_what_it_knew_and_makes_up_for_the_rest(tmp_path: Path) -> None:
    server = PostgresServer(programs())
    one, url = place(tmp_path, "one"), server.database()
    reader = connect_reader(url, tmp_path)
    try:
        async with raw_upstream(answer) as upstream, guard():
            with proxy_process(one, upstream.url, instance="one", **blocks(url)) as proxy:
                keys = {}
                for name in ("bob", "eve"):
                    made = tollkeeper(one, "key", "create", name, "--team", "research", "--json")
                    keys[name] = json.loads(made)["keys"][0]["secret"]
                assert [await asked(proxy, keys["bob"]) for _ in range(2)] == [200, 200]
                assert await asked(proxy, STRICT) == 200
                tollkeeper(one, "key", "suspend", "eve", "-c", "config.yaml")
                left = await begun(proxy, keys["bob"])
                await until(lambda: requests(reader) == 3)
                proxy.signal(signal.SIGKILL)
                await asyncio.gather(left, return_exceptions=True)
            server.kill()
            with proxy_process(one, upstream.url, instance="one", **blocks(url)) as proxy:
                assert [await asked(proxy, keys["bob"]) for _ in range(2)] == [200, 200]
                assert await asked(proxy, keys["eve"]) == 401
                await becomes(proxy, "sk-unknown-1", 503)  # once the ledger is silent for 2 s
                assert await asked(proxy, STRICT) == 503, "nobody knows what it has used"
                with pytest.raises(AssertionError, match="cannot be written now"):
                    tollkeeper(one, "key", "resume", "eve", "-c", "config.yaml")
                running = await begun(proxy, keys["bob"])
                server.start()
                await becomes(proxy, "sk-unknown-1", 401)
                await becomes(proxy, STRICT, 200)
                # Two before, one that the killed process left, two meanwhile; one still runs.
                await until(lambda: requests(reader) == 7)
                assert used(one, "team:research/requests/day")[0] == 5
                tollkeeper(one, "key", "resume", "eve", "-c", "config.yaml")
                assert [await asked(proxy, keys["eve"]) for _ in range(3)] == [200] * 3
                assert await asked(proxy, keys["eve"]) == 429
                assert [await asked(proxy, STRICT) for _ in range(2)] == [200, 429]
                running.cancel()  # it passed without a hold, and counts at its end
                await until(lambda: requests(reader) == 12)
                assert outcomes(reader)["interrupted"] == 1
                assert used(one, "team:research/requests/day") == (9, 0)
    finally:
        server.remove()
