"""The wish to stop: once begins it, twice ends its pauses."""

from __future__ import annotations

import asyncio

from proxy.server.stop import Stop
from tests.support.waiting import guard


async def test_asked_once_it_stops_and_asked_twice_it_does_not_pause() -> None:
    stop = Stop()
    assert not stop.asked.is_set()
    stop.ask(by_hand=True)
    assert stop.asked.is_set() and stop.by_hand and not stop.in_a_hurry
    await stop.pause(0.001)
    pausing = asyncio.create_task(stop.pause(10_000))
    await asyncio.sleep(0)
    stop.ask()
    async with guard():
        await pausing
    assert stop.in_a_hurry
