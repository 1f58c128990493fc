"""The ends of requests reach the server once, whatever is asked of it a second time."""

from __future__ import annotations

from proxy.core.limits.decisions import Used
from tests.quota.valkey.booked import ALL, DAY, NOW_MS, SLOTS, instances
from tests.support.valkey import ValkeyServer


async def test_a_second_end_changes_nothing_and_is_told(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        held, void = await one.held(100), await one.held(50)
        for tokens in (30, 90):
            one.quota.settle(held, Used(output_tokens=tokens), NOW_MS)
            one.quota.void(void, NOW_MS)
        assert await one.figures() == (30, 0)
        assert await one.figures(SLOTS) == (0, 0)
        assert one.quota._ends.resolved_twice == 2


async def test_what_an_earlier_life_held_ends_as_its_record_says(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        for tokens in (100, 60):
            await one.held(tokens)
        one.quota._running.clear()  # as after a start
        booked, never_sent = await one.quota.left()
        one.quota.settle_left(booked, Used(output_tokens=40))
        one.quota.settle_left(never_sent, None)
        assert await one.figures() == (40, 0)
        assert await one.quota.left() == []


async def test_a_correction_counts_in_its_window_alone(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        one.end(await one.held(30), 30)
        one.quota.adjust(ALL, NOW_MS, Used(requests=0, output_tokens=-10), NOW_MS)
        one.quota.adjust([DAY], NOW_MS - 86_400_000, Used(output_tokens=7), NOW_MS)
        assert await one.figures() == (20, 0)
