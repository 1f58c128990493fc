"""Limits that count values apart, over kill -9: what a value held and had used is what it has used
after the next start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from proxy.admin.limits import LIMITS_PATH, Limits
from proxy.cli import admin_client
from proxy.core.money import NANO
from proxy.quota.status import LimitStatus
from tests.crash.kills import VARIANTS
from tests.crash.processes import Proxy, served, upstream
from tests.support.raw import RawClient
from tests.support.waiting import guard

pytestmark = pytest.mark.whole

VALUES = 200
LIVES = 3
REQUESTS, TOKENS, MONEY = "runs", "users", "envs"
LIMITS = [
    {"limit": "1000 requests/month per header:x-run", "name": REQUESTS},
    {"limit": "9_000_000 tokens/month per end_user", "name": TOKENS},
    {"limit": "5000 USD/month per tag:env", "name": MONEY},
]
# What each counts, and by what, of a record.
BOOKED = {
    REQUESTS: ("""json_extract(tags, '$."header:x-run"')""", "count(*)"),
    TOKENS: ("end_user", "sum(input_tokens + output_tokens)"),
    MONEY: ("json_extract(tags, '$.env')", "sum(charge_nano)"),
}
Counts = dict[tuple[str, str], LimitStatus]


async def counts(data_dir: Path) -> Counts:
    """Each limit's count of each value, as the process tells them."""
    process = admin_client.running(data_dir, {})
    assert process is not None
    found = await asyncio.to_thread(
        lambda: admin_client.ask(process, "GET", LIMITS_PATH, type=Limits)
    )
    return {(one.id, one.value): one for one in found.limits if one.value is not None}


def booked(data_dir: Path) -> dict[tuple[str, str], int]:
    """The same by the book; money in nano-units."""
    path = f"file:{data_dir / 'ledger.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
        return {
            (name, value): used
            for name, (by, what) in BOOKED.items()
            for value, used in connection.execute(
                f"SELECT {by}, {what} FROM records WHERE kind = 'usage' GROUP BY 1"
            )
        }


def exact(one: LimitStatus) -> int:
    """What is used; money in nano-units."""
    used = one.used
    return used if isinstance(used, int) else int(Decimal(used) * NANO)


async def begin(proxy: Proxy, value: str, finished: int) -> RawClient:
    """Some whole answers to this value, and a stream that has begun."""
    fields = (f"x-run: {value}", f"x-end-user: {value}", f"x-tollkeeper-tags: env={value}")
    for number in range(finished + 1):
        client = await RawClient.connect(proxy.address)
        last = number == finished
        message = {"role": "user", "content": f"{value} {number}"}
        body = {"model": "demo-slow:5" if last else "demo-chat", "messages": [message]}
        await client.post(json.dumps({**body, "stream": last}).encode(), headers=fields)
        if last:
            assert (await client.head())[0] == 200
            await client.chunk()
            return client
        assert (await client.answer()).status == 200
        await client.aclose()
    raise AssertionError("the last one runs")


async def test_after_a_kill_each_of_200_values_has_what_it_held_and_had_used(
    tmp_path: Path,
) -> None:
    rng, data_dir = random.Random(1), tmp_path / "var"
    sent: dict[str, int] = {}
    async with upstream(tmp_path / "upstream.jsonl") as address:
        path = tmp_path / "config.yaml"
        block = {
            **VARIANTS[0].config(address),
            "admin": {"listen": "127.0.0.1:0"},
            "prices": [{"model": "*", "input": "1000", "output": "2000"}],
            "attribution": {"tags": {"keep": ["env"]}},
            "teams": {"research": {"limits": LIMITS}},
        }
        path.write_text(yaml.safe_dump(block))
        for life in range(LIVES):
            async with served(path) as proxy, guard():
                assert await proxy.is_ready(), proxy.stderr
                await proxy.drained()
                before, book = await counts(data_dir), booked(data_dir)
                assert {name: exact(one) for name, one in before.items()} == book, life
                assert all(one.held in (0, "0") for one in before.values())
                for name, one in before.items():
                    if name[0] == REQUESTS:
                        assert one.used == sent[name[1]], "held and used before the kill"
                if life == LIVES - 1:
                    break
                clients = []
                for at in range(0, VALUES, 25):
                    some = [f"v{number}" for number in range(at, at + 25)]
                    finished = {value: rng.randrange(3) for value in some}
                    for value, number in finished.items():
                        sent[value] = sent.get(value, 0) + number + 1
                    clients += await asyncio.gather(
                        *(begin(proxy, value, number) for value, number in finished.items())
                    )
                running = await counts(data_dir)
                assert len(running) >= len(BOOKED) * VALUES
                assert all(one.held not in (0, "0") for one in running.values() if one.value)
                await proxy.kill()
                for client in clients:
                    client.leave()
        assert len(book) == len(BOOKED) * VALUES
