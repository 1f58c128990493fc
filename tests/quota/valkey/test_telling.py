"""A share that is reached is told once over all instances, whichever sees it."""

from __future__ import annotations

import asyncio
from zoneinfo import ZoneInfo

from proxy.quota import Crossing, SharedOptions
from proxy.quota.valkey.store import SharedQuota
from tests.quota.stores import Clock
from tests.quota.valkey.shared import built, shared_quota
from tests.quota.worlds import World, limit
from tests.support.valkey import ValkeyServer
from tests.support.waiting import guard

NOW_MS = 1_800_000_000_000


async def worlds(server: ValkeyServer, count: int) -> list[World]:
    server.ask("FLUSHALL")
    clock = Clock(NOW_MS)
    clock.steady_ms = NOW_MS
    found: list[World] = []
    for number in range(count):
        options = SharedOptions(instance=f"i{number}", timeout_s=30.0)
        quota = await shared_quota(server, ZoneInfo("UTC"), clock, options=options)
        await built(quota, NOW_MS)
        found.append(World(quota, clock))
        found[-1].count = 1000 * number
    return found


async def told(here: list[World]) -> list[tuple[str, int]]:
    """All that all instances tell now."""
    for one in here:
        await one.quota.flush()
    return [
        (crossing.state.limit.id, crossing.share_ppm)
        for one in here
        for crossing in await one.warnings()
        if isinstance(crossing, Crossing)
    ]


async def close(here: list[World]) -> None:
    for one in here:
        assert isinstance(one.quota, SharedQuota)
        await one.quota.aclose()


async def test_of_three_instances_one_tells_each_share(valkey: ValkeyServer) -> None:
    day = limit("1_000 tokens/day", warn_at_ppm=(500_000, 800_000), name="day")
    async with guard():
        here = await worlds(valkey, 3)
        held = [await one.admitted([day], 1) for one in here for _ in range(20)]
        seen: list[tuple[str, int]] = []
        for number, reservation in enumerate(held):
            here[number // 20].end(reservation, 20)
            if number % 7 == 0:
                await asyncio.sleep(0)
        seen += await told(here)
        assert sorted(seen) == [("day", 500_000), ("day", 800_000), ("day", 1_000_000)]
        await here[0].refused([day], 1)
        assert await told(here) == []
        await close(here)


async def test_a_limit_that_only_warns_is_told_once_a_period(valkey: ValkeyServer) -> None:
    minute, slots = limit("1 requests/minute", "warn"), limit("1 concurrent", "warn")
    async with guard():
        here = await worlds(valkey, 3)
        for one in here * 2:
            await one.admitted([minute, slots])
        assert sorted(await told(here)) == [(slots.id, 10**6), (minute.id, 10**6)]
        here[0].clock.pass_ms(60_000)
        await here[1].admitted([minute, slots])
        assert len(await told(here)) == 2
        # The server's clock was set back: it would be silent until it is as late again.
        here[0].clock.pass_ms(-3_600_000)
        await here[2].admitted([minute, slots])
        assert len(await told(here)) == 2
        await close(here)
