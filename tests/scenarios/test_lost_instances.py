"""Processes that are killed and do not come back, or do later: ledger and limits say the same."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
from collections import Counter
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from proxy.journal import JournalReader, recover
from tests.scenarios.fleet import Instance, Load, Shared, Vendor, strict, under_load, world
from tests.scenarios.test_instances import instances
from tests.scenarios.test_postgresql_ledger import tollkeeper
from tests.support.effort import FULL
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # processes and servers of their own

ROUNDS = 20 if FULL else 4
LIMITS = (
    strict(100_000),
    {"limit": "100_000_000 tokens/day"},
    {"limit": "1_000_000 USD/month", "enforce": "strict"},
    {"limit": "400 concurrent"},
)
MOST = {"output_tokens": 500}  # of an answer
SUMS = (
    "SELECT count(*) FILTER (WHERE kind = 'usage'),"
    " coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(charge_nano), 0) FROM records"
)


def counted(directory: Path) -> list[tuple[int, int]]:
    """Used and held of requests, tokens, money and slots."""
    found = json.loads(tollkeeper(directory, "limit", "list", "-c", "config.yaml", "--json"))
    rows: dict[str, Any] = {row["id"].partition("/")[2]: row for row in found}
    names = ("requests/day", "tokens/day", "USD/month", "concurrent")
    return [(number(rows[name]["used"]), number(rows[name]["held"])) for name in names]


def number(told: object) -> int:
    """A count, or an amount of money in nano-units."""
    return int(Decimal(told) * 10**9) if isinstance(told, str) else int(str(told))


def booked(shared: Shared) -> list[int]:
    """Requests, tokens and money that the ledger has in all."""
    [row] = shared.database.sql(SUMS, shared.url.rpartition("/")[2])
    return [int(value) for value in row]


async def agree(shared: Shared, directory: Path) -> list[int]:
    """Waits until the limits say what the ledger says, and nothing is held; returns that."""
    async with guard():
        while True:
            sums = booked(shared)
            found = await asyncio.to_thread(counted, directory)
            if found == [*((used, 0) for used in sums), (0, 0)]:
                return sums
            print(sums, found)


async def lapsed(directory: Path, name: str) -> None:
    async with guard():
        while (await asyncio.to_thread(instances, directory))[name] != "lapsed":
            pass


async def killed(one: Instance, load: Load, shared: Shared, *, held: int, burst: int) -> None:
    """Some requests that are booked, streams that wait at their vendor, a burst, and SIGKILL."""
    numbers = count(1)
    for done in range(1, 6):
        assert await load.alone(next(numbers)) == 200
        await until(lambda done=done: booked(shared)[0] == done, 0.02)
    asked = [
        asyncio.create_task(load.alone(next(numbers), "m-held", stream=True)) for _ in range(held)
    ]
    await until(lambda: counted_at(one)[3][0] == held, 0.1)
    asked += [asyncio.create_task(load.alone(next(numbers))) for _ in range(burst)]
    await until(lambda: not burst or load.statuses[200] > 5)
    one.process.kill()
    await asyncio.gather(*asked, return_exceptions=True)


def counted_at(one: Instance) -> list[tuple[int, int]]:
    return counted(one.directory)


def forget(directory: Path, *words: str) -> str:
    return tollkeeper(directory, "instance", "forget", "a", *words, "-c", "config.yaml")


async def test_what_a_lost_process_holds_is_charged(tmp_path: Path) -> None:
    async with world(tmp_path, "ab", *LIMITS, strict=MOST) as (shared, [a, b], vendor, stack):
        load = Load([a.address])
        await killed(a, load, shared, held=8, burst=0)
        await lapsed(b.directory, "a")
        await until(lambda: counted_at(b)[3] == (0, 0), 0.1)
        before, held = booked(shared), counted_at(b)
        assert held[0] == (5, 8) and held[2][1] > 0
        with pytest.raises(AssertionError, match="Charge them"):
            forget(b.directory)  # nobody answers
        assert (booked(shared), counted_at(b)) == (before, held)
        said = forget(b.directory, "--yes")
        assert "8 requests that a holds are in no ledger" in said and "a is forgotten" in said
        charged = await agree(shared, b.directory)
        assert charged[0] == 13
        assert charged[2] - before[2] == held[2][1], "the bound, to the nano-unit"
        assert instances(b.directory) == {"b": "live"}
        vendor.go_on.set()
        await b.stop()
        await asyncio.to_thread(stack.enter_context, a.running())
        said = tollkeeper(a.directory, "instance", "forget", "b", "-c", "config.yaml")
        assert "b holds nothing of limits" in said and "it was left" in said


async def test_what_a_forgotten_process_still_says_corrects_what_was_charged(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "ab", *LIMITS, strict=MOST) as (shared, [a, b], vendor, stack):
        await killed(a, load := Load([a.address]), shared, held=8, burst=30)
        await lapsed(b.directory, "a")
        forget(b.directory, "--yes")
        charged = booked(shared)
        assert charged[0] >= 13
        vendor.go_on.set()  # its directory turns up again
        await asyncio.to_thread(stack.enter_context, a.running())
        late = await agree(shared, b.directory)
        print(charged, late, load.statuses)
        assert late[0] >= 13 and late[2] < charged[2] + (late[0] - charged[0]) * 10**9
        verified = tollkeeper(b.directory, "ledger", "verify", "-c", "config.yaml")
        assert "as it was written" in verified


def one_directory(root: Path) -> dict[str, object]:
    """Settings of processes that share a data directory, and take each other's journals."""
    shared = root / "shared"
    shared.mkdir()
    (shared / "ledger.key").write_text("ab" * 32)
    return {"data_dir": str(shared), "journal": {"adopt": True}, "strict": MOST}


async def is_left(directory: Path, name: str) -> None:
    async with guard():
        while (await asyncio.to_thread(instances, directory))[name] != "left":
            pass


async def test_what_a_killed_process_left_is_booked_by_one_that_lives(tmp_path: Path) -> None:
    more = one_directory(tmp_path)
    async with world(tmp_path, "abc", *LIMITS, **more) as (shared, [a, b, c], vendor, stack):
        load = Load([a.address])
        await killed(a, load, shared, held=8, burst=30)
        sent = len(vendor.arrived)
        await is_left(b.directory, "a")
        sums = await agree(shared, b.directory)
        assert sums[0] == sent, "each request that reached the vendor, once"
        # It goes on behind what was booked for it.
        vendor.go_on.set()
        await asyncio.to_thread(stack.enter_context, a.running())
        numbers = count(1000)
        for _ in range(5):
            assert await load.alone(next(numbers)) == 200
        assert (await agree(shared, c.directory))[0] == sent + 5
        assert instances(b.directory) == dict.fromkeys("abc", "live")
        verified = tollkeeper(b.directory, "ledger", "verify", "-c", "config.yaml")
        assert "as it was written" in verified


async def test_one_that_is_only_paused_keeps_its_journal_and_the_counts_may_be_lost_meanwhile(
    tmp_path: Path,
) -> None:
    more = one_directory(tmp_path)
    async with world(tmp_path, "abc", *LIMITS, **more) as (shared, [a, b, c], vendor, _):
        paused, load = Load([b.address]), Load([a.address])
        streams = [
            asyncio.create_task(paused.alone(number, "m-held", stream=True))
            for number in range(2000, 2004)
        ]
        await until(lambda: len(vendor.arrived) == 4)
        b.process.send_signal(signal.SIGSTOP)
        try:
            await killed(a, load, shared, held=4, burst=10)
            shared.quota.ask("FLUSHALL")
            await is_left(c.directory, "a")
            assert instances(c.directory)["b"] == "lapsed", "its lock says that it is there"
        finally:
            b.process.send_signal(signal.SIGCONT)
        vendor.go_on.set()
        assert await asyncio.gather(*streams) == [200] * 4
        sums = await agree(shared, c.directory)
        assert sums[0] == await each_once(shared, vendor)
        again = Load([b.address, c.address], numbers=count(3000))
        async with guard():
            while (await again.alone(next(again.numbers))) != 200:
                pass  # strict waits until all have handed in


class Rounds:
    """One process is killed again and again in the middle of a load, at a random point."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.numbers = count(1)
        self.failed = 0

    async def kill(self, one: Instance, others: list[Instance]) -> None:
        """Load on all of them; then one is killed, and what runs at the others ends."""
        load = Load([each.address for each in (one, *others)], numbers=self.numbers)
        async with under_load(load, 12):
            await asyncio.sleep(self.dice.uniform(0.1, 1.2))  # where it is killed
            one.process.kill()
            seen = len(load.served)
            await until(lambda: len(load.served) >= seen + 20)
        self.failed += len(load.failed)


async def each_once(shared: Shared, vendor: Vendor) -> int:
    """Each request that reached the vendor has one record; returns how many there are."""
    asked = "SELECT model_requested FROM records WHERE kind = 'usage'"
    rows = shared.database.sql(asked, shared.url.rpartition("/")[2])
    found = Counter(int(row[0].rpartition("-")[2]) for row in rows)
    assert max(found.values()) == 1 and found.keys() >= vendor.arrived.keys()
    return len(found)


@pytest.mark.campaign
async def test_whenever_a_process_is_killed_another_books_what_it_left(tmp_path: Path) -> None:
    rounds, more = Rounds(1), one_directory(tmp_path)
    async with world(tmp_path, "abc", *LIMITS, **more) as (shared, [a, b, c], vendor, stack):
        for number in range(ROUNDS):
            await rounds.kill(a, [b, c])
            await is_left(b.directory, "a")
            sums = await agree(shared, b.directory)
            assert sums[0] == await each_once(shared, vendor)
            await asyncio.to_thread(stack.enter_context, a.running())
            print(f"round {number + 1}: {sums}, broken off {rounds.failed}", flush=True)
        verified = tollkeeper(b.directory, "ledger", "verify", "-c", "config.yaml")
        assert "as it was written" in verified


def journaled(one: Instance, shared: Shared) -> list[int]:
    """Requests, tokens and money that its journal has and the ledger has not."""
    asked = "SELECT id FROM records"
    known = {row[0] for row in shared.database.sql(asked, shared.url.rpartition("/")[2])}
    journal = one.directory / "var" / "journal" / "a"
    reader = JournalReader(journal, 0)
    closes = reader.closes(1_000_000, recover(journal).last_seq)
    records = {record.id: record for _, record in closes}
    reader.close()
    lost = [record for id, record in records.items() if id not in known]
    tokens = sum((r.input_tokens or 0) + (r.output_tokens or 0) for r in lost)
    return [len(lost), tokens, sum(r.charge_nano or 0 for r in lost)]


@pytest.mark.campaign
async def test_whenever_a_process_is_killed_it_can_be_forgotten_and_come_back(
    tmp_path: Path,
) -> None:
    rounds = Rounds(2)
    async with world(tmp_path, "abc", *LIMITS, strict=MOST) as (shared, [a, b, c], vendor, stack):
        for number in range(ROUNDS):
            await rounds.kill(a, [b, c])
            await lapsed(b.directory, "a")
            said = forget(b.directory, "--yes")
            # What its journal alone has is counted and not booked.
            async with guard():
                while True:
                    sums, lost = booked(shared), journaled(a, shared)
                    expected = [(used + more, 0) for used, more in zip(sums, lost, strict=True)]
                    if counted_at(b) == [*expected, (0, 0)]:
                        break
                    print(sums, lost, counted_at(b))
            await asyncio.to_thread(stack.enter_context, a.running())
            late = await agree(shared, c.directory)
            assert late[0] == await each_once(shared, vendor)
            charged = re.findall("([0-9,]+) requests that a holds are in no", said)
            print(f"round {number + 1}: charged {charged}, journal alone {lost}, then {late}")
        verified = tollkeeper(b.directory, "ledger", "verify", "-c", "config.yaml")
        assert "as it was written" in verified
