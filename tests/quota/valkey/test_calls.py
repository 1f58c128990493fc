"""Calls of the script: none waits for ever, and what must arrive does, once."""

from __future__ import annotations

import asyncio
from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable, SharedOptions
from proxy.quota.valkey.calls import AT_ONCE, Epoch
from tests.quota.stores import Clock
from tests.quota.valkey.relay import relay
from tests.quota.valkey.shared import built, shared_quota
from tests.quota.worlds import World, limit
from tests.support.valkey import ValkeyServer
from tests.support.waiting import guard, until

NOW_MS = 1_800_000_000_000
DAY = limit("1_000 tokens/day", "strict")


async def store(port: int, timeout_s: float) -> World:
    clock = Clock(NOW_MS)
    clock.steady_ms = NOW_MS
    server = ValkeyServer.__new__(ValkeyServer)
    server.port = port
    options = SharedOptions(timeout_s=timeout_s)
    quota = await shared_quota(server, ZoneInfo("UTC"), clock, options=options)
    await built(quota, NOW_MS)
    return World(quota, clock)


async def test_a_slow_server_is_not_waited_for_and_nothing_stays_held(valkey: ValkeyServer) -> None:
    """Half-read answers of other clients: a late answer belongs to nobody."""
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, guard():
        here = await store(way.port, 0.05)
        before = await here.admitted([DAY], most=10)
        way.hold()
        answers = await asyncio.gather(
            *(here.ask([DAY], most=5) for _ in range(50)), return_exceptions=True
        )
        assert all(isinstance(answer, QuotaUnavailable) for answer in answers)
        assert all("did not answer in 50 ms" in str(answer) for answer in answers)
        here.end(before, 7)
        way.release()
        await here.quota.flush()
        assert await here.figures(DAY) == (7, 0, 993), "they were let through, and called off"
        assert way.connections == 1, "a slow server is no reason for another connection"
        await here.quota.aclose()


async def test_a_caller_that_is_cancelled_holds_nothing(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, guard():
        here = await store(way.port, 30.0)
        way.hold()
        asking = [asyncio.create_task(here.ask([DAY], most=5)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        await until(lambda: len(way.writes) > 2)
        for task in asking[1::2]:
            task.cancel()
        assert all(
            isinstance(answer, asyncio.CancelledError)
            for answer in await asyncio.gather(*asking, return_exceptions=True)
        )
        way.release()
        await here.quota.flush()
        assert await here.figures(DAY) == (0, 0, 1000)
        await here.quota.aclose()


async def test_what_the_server_refuses_for_a_while_arrives_later(valkey: ValkeyServer) -> None:
    """BUSY, MISCONF, NOREPLICAS: the command was not carried out."""
    valkey.ask("FLUSHALL")
    async with guard():
        here = await store(valkey.port, 30.0)
        running = [await here.admitted([DAY], most=10) for _ in range(3)]
        valkey.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        try:
            here.end(running[0], 5)
            here.void(running[1])
            with pytest.raises(QuotaUnavailable, match="NOREPLICAS"):
                await here.ask([DAY], most=10)
        finally:
            valkey.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        await here.quota.flush()
        assert await here.figures(DAY) == (5, 10, 985)
        await here.quota.aclose()


async def test_what_piles_up_while_the_server_refuses_is_sent_a_few_at_a_time(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey.ask("FLUSHALL")
    monkeypatch.setattr("proxy.quota.valkey.calls.AGAIN_S", (0.01, 10.0))
    async with guard():
        here = await store(valkey.port, 30.0)
        running = [await here.admitted([DAY], most=1) for _ in range(300)]
        calls = here.quota._calls  # type: ignore[attr-defined]
        valkey.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        try:
            for one in running:
                here.end(one, 1)
            await until(lambda: calls._pause_s == 0.16)
            times = [one.times for one in calls._sending.values()]
        finally:
            valkey.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        await here.quota.flush()
        assert len(times) == 300 and sum(times) <= 300 + 4 * AT_ONCE, "after four pauses"
        assert max(times) <= 2, "none is sent a third time before all others are a second time"
        assert await here.figures(DAY) == (300, 0, 700)
        told = [line for line in caplog.messages if "NOREPLICAS" in line]
        assert len(told) == 1, "the reason, once"
        await here.quota.aclose()


async def test_a_server_that_says_nothing_is_left(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that a firewall has forgotten: nobody closes it."""
    monkeypatch.setattr("proxy.quota.valkey.calls.DEAD_S", 0.02)
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, guard():
        here = await store(way.port, 0.03)
        way.hold()
        with pytest.raises(QuotaUnavailable):
            await here.ask([DAY], most=10)
        way.release()
        await until(lambda: way.connections == 2)
        await here.quota.flush()
        assert await here.figures(DAY) == (0, 0, 1000)
        await here.quota.aclose()


async def test_of_many_at_once_and_cuts_between_nothing_stays_held(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, guard():
        here = await store(way.port, 30.0)
        used = 0

        async def one(number: int) -> None:
            nonlocal used
            await asyncio.sleep(0.0003 * number)
            try:
                answer = await here.ask([DAY], most=3)
            except QuotaUnavailable:
                return
            if not isinstance(answer, Refused):
                await asyncio.sleep(0.001)
                here.end(answer, 2)
                used += 2

        asking = asyncio.gather(*(one(number) for number in range(300)))
        for _ in range(6):
            await asyncio.sleep(0.02)
            before = way.connections
            way.cut()
            await until(lambda: way.connections > before)  # noqa: B023
        await asking
        await until(lambda: here.quota._link.peer is not None)  # type: ignore[attr-defined]
        await here.quota.flush()
        assert used and await here.figures(DAY) == (used, 0, 1000 - used)
        await here.quota.aclose()


def test_an_epoch_is_named_by_its_id_and_the_server_s_run() -> None:
    epoch = Epoch(b"e", b"r")
    assert (epoch.value, epoch.prefix) == (b"e|r", b"{tk}:1:e:")


async def test_the_last_ends_are_counted_before_it_leaves(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with guard():
        here, other = await store(valkey.port, 30.0), await store(valkey.port, 30.0)
        for reservation in [await here.admitted([DAY], most=5) for _ in range(20)]:
            here.end(reservation, 3)
        await here.quota.aclose()
        assert await other.figures(DAY) == (60, 0, 940)
        await other.quota.aclose()
