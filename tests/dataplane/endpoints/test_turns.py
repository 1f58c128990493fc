"""Each caller has one turn at a time, and nobody waits for somebody else's second one."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from proxy.dataplane.endpoints.turns import Turns
from tests.support.waiting import guard, until


class Desk:
    """Who has a turn, until it is let go."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self.now: Counter[str] = Counter()
        self.go = asyncio.Event()

    async def read(self, caller: str) -> None:
        async with self.turns.of(caller):
            self.now[caller] += 1
            await self.go.wait()
            self.now[caller] -= 1


async def test_one_caller_takes_one_place_however_often_it_asks() -> None:
    desk = Desk(2)
    async with guard(), asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(desk.read("greedy"))
        group.create_task(desk.read("other"))
        await until(lambda: desk.now["other"] == 1)
        assert desk.now["greedy"] == 1
        desk.go.set()
    assert not +desk.now


async def test_no_more_than_so_many_at_once_and_nothing_is_kept_of_those_who_left() -> None:
    desk = Desk(3)
    async with guard(), asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(desk.read(f"key-{number}"))
        await until(lambda: desk.now.total() == 3)
        for _ in range(20):
            await asyncio.sleep(0)
            assert desk.now.total() == 3
        desk.go.set()
    gc.collect()
    assert not desk.turns._own


async def test_one_that_gives_up_leaves_its_place() -> None:
    desk = Desk(1)
    first = asyncio.create_task(desk.read("a"))
    waiting = [asyncio.create_task(desk.read(name)) for name in ("a", "b")]
    await until(lambda: desk.now.total() == 1)
    for task in (first, waiting[0]):
        task.cancel()
    await until(lambda: desk.now["b"] == 1)
    desk.go.set()
    async with guard():
        await waiting[1]
