"""One store through everything that may happen to its server, against the book."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import pytest

from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable, Reservation
from tests.quota.valkey.booked import NOW_MS, SOFT, Instance, instances, usable
from tests.quota.valkey.relay import Relay, relay
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import until

HARD = limit("2_500 tokens/day", "strict", "team:blue")
SLOTS = limit("500 concurrent", "cut", "team:blue")
BOUND = 90


class Story:
    """Requests of two kinds while the server is flushed, killed, paused and cut off."""

    def __init__(
        self, dice: random.Random, one: Instance, server: ValkeyServer, way: Relay
    ) -> None:
        self.dice, self.one, self.server, self.way = dice, one, server, way
        self.running: list[tuple[Reservation, tuple[object, ...]]] = []
        self.hard = self.soft = self.refused = self.passed = 0

    async def request(self) -> None:
        strict = self.dice.random() < 0.6
        limits = (HARD, SLOTS) if strict else (SOFT, SLOTS)
        asking = asyncio.create_task(self.one.ask(BOUND, limits))
        if self.dice.random() < 0.05:
            await asyncio.sleep(0)
            asking.cancel()
        try:
            answer = await asking
        except (QuotaUnavailable, asyncio.CancelledError):
            self.refused += 1
            return
        if isinstance(answer, Refused):
            self.refused += 1
            return
        self.passed += 1
        self.running.append((answer, limits))

    def end(self) -> None:
        if not self.running:
            return
        held, limits = self.running.pop(self.dice.randrange(len(self.running)))
        if self.dice.random() < 0.15:
            self.one.quota.void(held, NOW_MS)
            return
        used = self.dice.randint(0, BOUND)
        if HARD in limits:
            self.hard += used
        else:
            self.soft += used
        self.one.end(held, used, limits)  # type: ignore[arg-type]

    async def trouble(self) -> None:
        what = self.dice.choice(("flush", "kill", "cut", "pause", "holds"))
        if what == "flush":
            self.server.ask("FLUSHALL")
        elif what == "kill":
            self.server.kill()
            await self.some(3)
            self.server.start()
        elif what == "cut":
            self.way.cut()
        elif what == "pause":
            self.server.send(signal.SIGSTOP)
            await self.some(3)
            self.server.send(signal.SIGCONT)
        elif self.running:
            holds = "local found = redis.call('KEYS', '*:i:*')"
            drop = "if #found > 0 then redis.call('DEL', unpack(found)) end"
            self.server.ask("EVAL", f"{holds} {drop} return 1", "0")

    async def some(self, count: int) -> None:
        for _ in range(count):
            await asyncio.gather(*(self.request() for _ in range(self.dice.randrange(8))))
            for _ in range(self.dice.randrange(8)):
                self.end()
            await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Wait until it is usable and all that was sent is answered."""
        while True:
            await until(lambda: usable(self.one))
            await self.one.quota.flush()
            with contextlib.suppress(QuotaUnavailable):
                await self.one.figures(HARD)
                return


async def through_all(tmp_path: Path, seed: int, steps: int) -> None:
    dice = random.Random(seed)
    with valkey_server(tmp_path) as server:
        async with (
            relay(server.port) as way,
            instances(way.port, timeout_s=0.2) as [one],
        ):
            story = Story(dice, one, server, way)
            for _ in range(steps):
                await story.some(6)
                await story.trouble()
                if dice.random() < 0.7:
                    await story.settled()
                assert story.hard <= HARD.amount, "a strict limit is never overspent"
            while story.running:
                story.end()
            await story.settled()
            assert await one.figures(HARD) == (story.hard, 0)
            assert await one.figures(SOFT) == (story.soft, 0)
            assert await one.figures(SLOTS) == (0, 0)
            assert story.passed and story.refused


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_to_the_server_the_counts_are_the_book_s(
    tmp_path: Path, seed: int
) -> None:
    await through_all(tmp_path, seed, 8)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 140))
async def test_forty_stories_of_a_server_end_as_the_book_says(tmp_path: Path, seed: int) -> None:
    await through_all(tmp_path, seed, 60)
