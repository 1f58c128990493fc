"""One store through everything that may happen to its server, against the book."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import Ended, Past, QuotaUnavailable, Reservation
from tests.quota.valkey.booked import NOW_MS, SOFT, Books, Instance, instances, usable
from tests.quota.valkey.relay import Relay, relay
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard, until

HARD = limit("2_500 tokens/day", "strict", "team:blue")
SLOTS = limit("500 concurrent", "cut", "team:blue")
WIDE = limit("900_000 tokens/day", "cut", "team:wide")
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


class Stories:
    """Three processes, of which one may die and come back, while their store loses its counts."""

    def __init__(self, dice: random.Random, server: ValkeyServer) -> None:
        self.dice, self.server = dice, server
        self.books = Books()
        self.books.at_once = False
        self.books.before_read = self.pause  # type: ignore[method-assign]
        self.running: dict[str, list[tuple[Reservation, tuple[Limit, ...]]]] = {}
        self.ones: dict[str, Instance] = {}
        self.passed = 0

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.random() * 0.01)

    async def begin(self, name: str) -> None:
        """A start: what an earlier life sent has its records, and the rest was never sent."""
        one = Instance(name, self.books)
        for held, limits in self.running.pop(name, []):
            used = Used(output_tokens=self.dice.randint(0, BOUND))
            one.journal.append(Ended(held.exchange_id, Past(limits, NOW_MS, used)))
        self.running[name] = []
        upto = len(one.journal)
        await one.connect(self.server.port)
        self.ones[name] = one
        one.tasks.append(asyncio.create_task(self.settle_left(one, upto)))

    async def settle_left(self, one: Instance, upto: int) -> None:
        """What `settle_what_was_held` does, with a journal for a book."""
        while True:
            with contextlib.suppress(QuotaUnavailable):
                before = {entry.id: entry.past.used for entry in one.journal[:upto]}
                for id in await one.quota.left():
                    if not id.startswith(f"{id_of(one)}-"):
                        one.quota.settle_left(id, before.get(id))
                return
            await asyncio.sleep(0.01)

    async def request(self, one: Instance) -> None:
        limits = (HARD, SLOTS) if self.dice.random() < 0.7 else (SOFT, SLOTS)
        try:
            answer = await one.ask(BOUND, limits)
        except QuotaUnavailable:
            return
        if not isinstance(answer, Refused):
            self.passed += 1
            self.running[one.name].append((answer, limits))

    def end(self, one: Instance) -> None:
        running = self.running[one.name]
        if running:
            held, limits = running.pop(self.dice.randrange(len(running)))
            if self.dice.random() < 0.15:
                one.quota.void(held, NOW_MS)
            else:
                one.end(held, self.dice.randint(0, BOUND), limits)

    async def some(self, count: int) -> None:
        for _ in range(count):
            for one in self.ones.values():
                await asyncio.gather(*(self.request(one) for _ in range(self.dice.randrange(5))))
                for _ in range(self.dice.randrange(5)):
                    self.end(one)
                if self.dice.random() < 0.3:
                    self.books.book(one.name)
            await asyncio.sleep(0.001)

    async def trouble(self) -> None:
        what = self.dice.choice(("flush", "kill", "set back", "die", "die and flush", "distrust"))
        if what == "kill":
            self.server.kill()
            await self.some(2)
            self.server.start()
        elif what == "set back":
            self.server.ask("SAVE")
            await self.some(3)
            # A process that heard nothing of what is lost finds it out when another one calls.
            await asyncio.gather(*(self.is_heard(one) for one in self.ones.values()))
            self.server.ask("DEBUG", "RELOAD", "NOSAVE")
        elif what == "distrust":
            self.dice.choice([*self.ones.values()]).quota.distrust("of a test")
        if what.startswith("die"):
            name = self.dice.choice([*self.ones])
            await self.ones.pop(name).die()
        if what.endswith("flush"):
            self.server.ask("FLUSHALL")
            await self.some(2)
        if what.startswith("die"):
            await self.begin(name)

    async def is_heard(self, one: Instance) -> None:
        with contextlib.suppress(QuotaUnavailable):
            one.quota.void(await one.held(1, (WIDE,)), NOW_MS)

    def used(self, limit_: Limit) -> int:
        return sum(
            entry.past.used.output_tokens or 0
            for journal in self.books.journals.values()
            for entry in journal
            if limit_ in entry.past.limits
        )

    async def settled(self) -> None:
        for one in self.ones.values():
            await until(lambda: usable(one))  # noqa: B023
            await one.quota.flush()


def id_of(one: Instance) -> int:
    return id(one)


async def through_losses(tmp_path: Path, seed: int, steps: int) -> None:
    dice = random.Random(seed)
    with valkey_server(tmp_path) as server:
        story = Stories(dice, server)
        async with guard():
            try:
                for name in ("a", "b", "c"):
                    await story.begin(name)
                for _ in range(steps):
                    await story.some(5)
                    await story.trouble()
                    if dice.random() < 0.5:
                        await story.settled()
                    assert story.used(HARD) <= HARD.amount, "a strict limit is never overspent"
                for one in story.ones.values():
                    while story.running[one.name]:
                        story.end(one)
                await story.settled()
                [one, *_] = story.ones.values()
                found = None
                while found is None or found[0][1] or found[1][1]:  # what was left is ended soon
                    await story.settled()
                    with contextlib.suppress(QuotaUnavailable):
                        found = await one.figures(HARD), await one.figures(SOFT)
                assert found == ((story.used(HARD), 0), (story.used(SOFT), 0))
                assert story.passed
            finally:
                for one in [*story.books.begun]:
                    await one.aclose()


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_several_processes_and_their_store_go_through_the_counts_are_the_book_s(
    tmp_path: Path, seed: int
) -> None:
    await through_losses(tmp_path, seed, 8)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 120))
async def test_twenty_stories_of_several_processes_end_as_the_book_says(
    tmp_path: Path, seed: int
) -> None:
    await through_losses(tmp_path, seed, 30)
