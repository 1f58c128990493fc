"""The slots of a silent process are free; all else stays held, and one that was paused comes back."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from proxy.core.ids import uuid7
from proxy.core.limits.state import Refused
from proxy.quota import Reservation, SharedOptions, SilentHolds
from proxy.quota.left import connect_left
from proxy.quota.valkey.store import SharedQuota
from tests.quota.stores import Clock
from tests.quota.valkey.shared import built, shared_quota
from tests.quota.worlds import World, limit
from tests.support.valkey import ValkeyServer

NOW_MS = 1_900_000_000_000
SLOTS = limit("3 concurrent", "strict")
DAY = limit("1_000 tokens/day", "strict")
MINUTE = limit("1_000 tokens/minute", "finish")
ALL = (SLOTS, DAY, MINUTE)


class Pair:
    """Two processes by one clock, which is the server's too."""

    def __init__(self, worlds: list[World]) -> None:
        self.a, self.b = worlds
        self.clock = self.a.clock

    async def beat(self, *worlds: World) -> None:
        for one in worlds:
            assert isinstance(one.quota, SharedQuota)
            await one.quota.presence.beat()

    async def silent_ms(self, ms: int, world: World) -> None:
        """So much time in which the other says nothing."""
        for _ in range(ms // 1000):
            self.clock.pass_ms(1000)
            await self.beat(world)

    async def figures(self, *limits: object) -> list[tuple[int, int]]:
        found = await self.b.quota.states(limits or ALL, self.clock.now_ms)  # type: ignore[arg-type]
        return [(state.used, state.held) for state in found]

    async def aclose(self) -> None:
        for one in (self.a, self.b):
            await one.quota.aclose()


async def pair(server: ValkeyServer) -> Pair:
    server.ask("FLUSHALL")
    clock = Clock(NOW_MS)
    clock.steady_ms = NOW_MS
    worlds = []
    for name in "ab":
        options = SharedOptions(instance=name, timeout_s=30.0)
        quota = await shared_quota(server, ZoneInfo("UTC"), clock, options=options)
        await built(quota, NOW_MS)
        worlds.append(World(quota, clock))
        worlds[-1].names = name
    return Pair(worlds)


async def held(world: World, count: int, tokens: int = 10) -> list[Reservation]:
    return [await world.admitted(ALL, tokens, most=tokens) for _ in range(count)]


async def test_slots_of_a_silent_one_are_free_and_nothing_else_of_it(valkey: ValkeyServer) -> None:
    two = await pair(valkey)
    await held(two.a, 3)
    await two.silent_ms(4000, two.b)
    assert isinstance(await two.b.ask(ALL, 10, most=10), Refused), "it may only be slow"
    await two.silent_ms(1000, two.b)
    assert await two.figures(SLOTS, DAY) == [(0, 0), (0, 30)]
    for running in await held(two.b, 3):
        two.b.end(running, 10)
    await two.b.quota.flush()
    assert await two.figures(SLOTS, DAY) == [(0, 0), (30, 30)], "a second beat frees nothing more"
    await two.aclose()


async def test_one_that_was_paused_takes_its_slots_again_above_the_limit(
    valkey: ValkeyServer,
) -> None:
    two = await pair(valkey)
    mine = await held(two.a, 3)
    await two.silent_ms(6000, two.b)
    others = await held(two.b, 2)
    # What it ends before its first beat gives no slot back that it did not have.
    two.a.end(mine[0], 4)
    await two.a.quota.flush()
    assert await two.figures(SLOTS) == [(2, 0)]
    await two.beat(two.a)
    assert await two.figures(SLOTS) == [(4, 0)], "above the limit of 3"
    await two.beat(two.a, two.b)
    assert await two.figures(SLOTS) == [(4, 0)], "once"
    two.a.quota.release_slots(mine[1])
    two.a.end(mine[1], 4)
    two.a.end(mine[2], 4)
    for running in others:
        two.b.end(running, 4)
    await two.a.quota.flush()
    await two.b.quota.flush()
    assert await two.figures(SLOTS, DAY) == [(0, 0), (20, 0)]
    await two.aclose()


async def test_a_slot_whose_client_left_meanwhile_is_not_taken_again(valkey: ValkeyServer) -> None:
    two = await pair(valkey)
    [one] = await held(two.a, 1)
    await two.silent_ms(6000, two.b)
    two.a.quota.release_slots(one)
    await two.a.quota.flush()
    await two.beat(two.a)
    assert await two.figures(SLOTS, DAY) == [(0, 0), (0, 10)]
    await two.aclose()


async def test_many_holds_are_gone_through_some_at_a_time(valkey: ValkeyServer) -> None:
    two = await pair(valkey)
    many = limit("5_000 concurrent", "finish")
    for _ in range(1500):
        await two.a.admitted([many])
    await two.silent_ms(5000, two.b)
    assert await two.figures(many) == [(0, 0)]
    await two.beat(two.a)
    assert await two.figures(many) == [(1500, 0)]
    await two.silent_ms(6000, two.b)
    assert await two.figures(many) == [(0, 0)], "it may be silent again"
    await two.aclose()


async def test_a_hold_that_is_met_twice_is_freed_once(valkey: ValkeyServer) -> None:
    """A walk through many holds may meet one again, and may begin anew."""
    two = await pair(valkey)
    await held(two.a, 3)
    await two.silent_ms(6000, two.b)
    await held(two.b, 2)
    for _ in range(2):
        assert valkey.ask("DEL", await key_of(two.b, "lapsed")) == b":1\r\n"
        await two.beat(two.b)
        assert await two.figures(SLOTS) == [(2, 0)]
    await two.beat(two.a)
    assert await two.figures(SLOTS) == [(5, 0)]
    await two.aclose()


async def test_slots_of_values_are_known_again(valkey: ValkeyServer) -> None:
    two = await pair(valkey)
    one = limit("1 concurrent per end_user", "strict").of_value("u1")
    running = await two.a.admitted([one])
    await two.silent_ms(6000, two.b)
    assert await two.figures(one) == [(0, 0)]
    values = await key_of(two.b, f"VS:{one.rule_id}")
    assert valkey.ask("ZCARD", values) == b":0\r\n", "a value without a count is none of the most"
    await two.beat(two.a)
    assert await two.figures(one) == [(1, 0)]
    assert valkey.ask("ZCARD", values) == b":1\r\n"
    two.a.end(running)
    await two.a.quota.flush()
    assert await two.figures(one) == [(0, 0)]
    await two.aclose()


async def test_it_is_told_what_silent_ones_hold_and_one_without_holds_is_forgotten(
    valkey: ValkeyServer,
) -> None:
    two = await pair(valkey)
    assert isinstance(two.b.quota, SharedQuota)
    presence = two.b.quota.presence
    two.a.names = uuid7(NOW_MS - 500, bytes(10))
    running = await held(two.a, 2)
    await presence.look()
    assert presence.silent == SilentHolds()
    await two.silent_ms(5000, two.b)
    await presence.look()
    assert presence.silent == SilentHolds(2, 5500)
    for one in running:
        two.a.end(one)
    await two.a.quota.flush()
    await two.beat(two.b)
    await presence.look()
    assert presence.silent == SilentHolds()
    assert b"$1\r\nb\r\n" in (left := valkey.ask("ZRANGE", await key_of(two.b, "seen"), "0", "-1"))
    assert b"$1\r\na\r\n" not in left
    await two.aclose()


async def test_one_that_nobody_waits_for_is_not_silent(valkey: ValkeyServer) -> None:
    two = await pair(valkey)
    two.a.names = uuid7(NOW_MS, bytes(10))
    await held(two.a, 2)
    await two.silent_ms(5000, two.b)
    left = await connect_left(valkey.url, "a", 30.0)
    assert left is not None and isinstance(two.b.quota, SharedQuota)
    await left.gone()
    await two.b.quota.presence.look()
    assert two.b.quota.silent == SilentHolds()
    await left.aclose()
    await two.aclose()


async def test_what_is_kept_of_one_that_was_given_up_is_kept_on_once_it_is_heard(
    valkey: ValkeyServer,
) -> None:
    two = await pair(valkey)
    await held(two.a, 2)
    holds = await key_of(two.b, "i:a")
    assert valkey.ask("PEXPIRE", holds, "1000000") == b":1\r\n"
    await two.beat(two.b)
    assert valkey.ask("PTTL", holds) != b":-1\r\n"
    await two.beat(two.a)
    assert valkey.ask("PTTL", holds) == b":-1\r\n"
    await two.aclose()


async def key_of(world: World, name: str) -> str:
    """A key of the epoch as the server has it."""
    assert isinstance(world.quota, SharedQuota)
    epoch = world.quota._calls.epoch
    assert epoch is not None
    return f"{epoch.prefix.decode()}{name}"
