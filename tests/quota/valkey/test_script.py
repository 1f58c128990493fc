"""What the server runs: exact integers, values apart, a full memory, and the one line of its clock."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.gcra import Bucket, Layer
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable, SharedOptions
from proxy.quota.valkey import script
from proxy.quota.valkey.store import SharedQuota
from tests.quota.stores import Clock
from tests.quota.valkey.shared import CLOCK_KEY, built, scripted, shared_quota
from tests.quota.worlds import World, limit
from tests.support.effort import examples
from tests.support.valkey import ValkeyServer, valkey_server

NOW_MS = 1_800_000_000_000
EDGES = (2**53, 9 * 10**17, 2**62, 10**20)
UTC = ZoneInfo("UTC")


async def store(server: ValkeyServer, **bounds: int) -> tuple[World, SharedQuota]:
    clock = Clock(NOW_MS)
    clock.steady_ms = NOW_MS  # as large as the server's own
    server.ask("FLUSHALL")
    options = SharedOptions(timeout_s=30.0, counted=frozenset())
    quota = await shared_quota(server, UTC, clock, options=options, **bounds)
    await built(quota, NOW_MS)
    return World(quota, clock), quota


def test_a_test_s_script_differs_in_the_clock_alone() -> None:
    ours, theirs = script().splitlines(), scripted().splitlines()
    [(told, instead)] = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert told.startswith("local now = clock[1] * 1000") and CLOCK_KEY in instead


def money(amount_nano: int, enforce: str = "strict") -> Limit:
    whole, nano = divmod(amount_nano, 10**9)
    return limit(f"{whole}.{nano:09} USD/day", enforce)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("apart", [-1, 0, 1])
async def test_amounts_are_exact_at_any_size(valkey: ValkeyServer, edge: int, apart: int) -> None:
    """A double cannot tell these from their neighbours."""
    here, quota = await store(valkey)
    room = edge + apart
    budget = money(room)
    assert isinstance(await here.ask([budget], most=room + 1, charge=0), Refused)
    whole = await here.admitted([budget], most=room, charge=0)
    assert await here.figures(budget) == (0, room, 0)
    assert (await here.refused([budget], most=1, charge=0)).by_holds
    here.end(whole, charge=room - 1)
    assert await here.figures(budget) == (room - 1, 0, 1)
    here.end(await here.admitted([budget], most=1, charge=0), charge=1)
    assert await here.figures(budget) == (room, 0, 0)
    quota.adjust([budget], NOW_MS, Used(requests=0, charge_nano=-room - 1), NOW_MS)
    assert await here.figures(budget) == (-1, 0, room + 1)
    await quota.aclose()


async def test_a_rate_of_a_trillion_is_exact_to_the_token(valkey: ValkeyServer) -> None:
    here, quota = await store(valkey)
    rate = limit("999_999_999_999_999 tokens/hour", "strict")
    first = await here.admitted([rate], most=999_999_999_999_998)
    here.clock.pass_ms(1)
    leaked = 999_999_999_999_999 // 3_600_000
    assert (await here.state(rate)).remaining == 1 + leaked
    here.end(first, 999_999_999_999_997)
    assert (await here.state(rate)).remaining == 2 + leaked
    await quota.aclose()


async def test_what_a_vendor_claims_beyond_all_reason_breaks_no_count(valkey: ValkeyServer) -> None:
    here, quota = await store(valkey)
    rate, day = limit("100 tokens/hour"), limit("100 tokens/day")
    here.end(await here.admitted([rate, day], 5), 10**30)
    assert (await here.state(day)).used == 10**18
    assert (await here.state(rate)).used == 10**18
    assert (await here.refused([rate, day], 5)).limit == day
    await quota.aclose()


class Beside:
    """The same steps in a bucket of the core and in the script."""

    def __init__(self, here: World, rate: Limit, dice: random.Random) -> None:
        self.here, self.rate, self.dice = here, rate, dice
        self.bucket = Bucket(rate.amount, here.clock.steady_ms)
        self.scale = {"second": 1000, "minute": 60_000, "hour": 3_600_000}[rate.per]
        self.running: list[tuple[Any, Layer, int]] = []

    async def step(self) -> None:
        dice, clock, bucket = self.dice, self.here.clock, self.bucket
        move = dice.random()
        if move < 0.25:
            clock.pass_ms(dice.choice((1, 10, 300, 2000, 20_000, 5_000_000)))
            bucket.flow(clock.steady_ms)
        elif move < 0.6 or not self.running:
            hold = dice.choice((0, 1, 7, 90, 400, 50_000))
            answer = await self.here.ask([self.rate], hold)
            assert not isinstance(answer, Refused)
            bucket.flow(clock.steady_ms)
            self.running.append((answer, bucket.take(hold * self.scale), hold))
        elif move < 0.7:
            place = dice.randrange(len(self.running))
            reservation, layer, hold = self.running[place]
            more = dice.choice((1, 50))
            quota = self.here.quota
            assert await quota.extend(reservation, hold + more, None, clock.now_ms) is None
            bucket.flow(clock.steady_ms)
            bucket.settle(layer, 0)
            self.running[place] = (reservation, bucket.take(more * self.scale), hold + more)
        else:
            reservation, layer, hold = self.running.pop(dice.randrange(len(self.running)))
            used = dice.choice((0, hold // 2, hold, hold + 3, 500))
            self.here.end(reservation, used)
            if used <= hold:
                bucket.settle(layer, (hold - used) * self.scale)
            else:
                bucket.settle(layer, 0)
                bucket.flow(clock.steady_ms)
                bucket.spend((used - hold) * self.scale)

    async def same(self) -> None:
        level = self.bucket.flow(self.here.clock.steady_ms)
        assert (await self.here.state(self.rate)).used == -(-level // self.scale)


async def same_steps(valkey: ValkeyServer, seed: int, steps: int) -> None:
    dice = random.Random(seed)
    here, quota = await store(valkey)
    text = dice.choice(("40 tokens/second", "900 tokens/minute", "70_000 output_tokens/hour"))
    beside = Beside(here, limit(text, "warn"), dice)
    for _ in range(steps):
        await beside.step()
        await beside.same()
    await quota.aclose()


@pytest.mark.parametrize("seed", range(examples(12)))
async def test_a_rate_is_the_core_s_bucket_at_each_step(valkey: ValkeyServer, seed: int) -> None:
    await same_steps(valkey, seed, 150)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(20))
async def test_a_rate_is_the_core_s_bucket_at_each_of_100_000_steps(
    valkey: ValkeyServer, seed: int
) -> None:
    await same_steps(valkey, 1000 + seed, 5_000)


async def test_a_rate_flows_on_when_the_server_s_clock_was_set_back(valkey: ValkeyServer) -> None:
    """It ran ahead for five hours: what came meanwhile must not block the next five."""
    here, quota = await store(valkey)
    rate = limit("60 tokens/minute", "strict")
    here.clock.pass_ms(5 * 3_600_000)
    here.end(await here.admitted([rate], most=60), 60)
    here.clock.pass_ms(-5 * 3_600_000)
    assert isinstance(await here.ask([rate], most=1), Refused), "nothing has flowed off"
    here.clock.pass_ms(10_000)
    for _ in range(10):
        here.end(await here.admitted([rate], most=1), 1)
    assert isinstance(await here.ask([rate], most=1), Refused), "and no more than in ten seconds"
    await quota.aclose()


async def test_a_step_back_of_less_than_a_second_is_waited_for(valkey: ValkeyServer) -> None:
    """To and fro, a clock must not have the same time flow twice."""
    here, quota = await store(valkey)
    rate = limit("60 tokens/minute", "strict")
    here.end(await here.admitted([rate], most=60), 60)
    for _ in range(5):
        here.clock.pass_ms(-900)
        assert isinstance(await here.ask([rate], most=1), Refused)
        here.clock.pass_ms(900)
        here.end(await here.admitted([rate], most=0), 0)  # which takes nothing and is written
        assert isinstance(await here.ask([rate], most=1), Refused)
    here.clock.pass_ms(1000)
    here.end(await here.admitted([rate], most=1), 1)
    await quota.aclose()


async def test_layers_are_as_many_as_requests_run(valkey: ValkeyServer) -> None:
    here, quota = await store(valkey)
    rate = limit("1_000_000 tokens/hour")
    running = [await here.admitted([rate], 5) for _ in range(40)]
    here.clock.pass_ms(1)
    for number, reservation in enumerate(running):
        here.end(reservation, number % 7)
    await quota.flush()
    assert valkey.ask("EVAL", "return #redis.call('KEYS', '*:LR:*')", "0") == b":0\r\n"
    await quota.aclose()


async def test_a_hold_of_a_bucket_that_ran_empty_gives_nothing_back(valkey: ValkeyServer) -> None:
    """The server forgets an empty bucket, and another begins under the same name."""
    here, quota = await store(valkey)
    rate = limit("1_000 tokens/minute")
    before = await here.admitted([rate], 600)
    here.clock.pass_ms(60_000)
    valkey.ask("EVAL", "return redis.call('DEL', unpack(redis.call('KEYS', '*R:key:*')))", "0")
    await here.admitted([rate], 500)
    here.end(before, 0)
    assert (await here.state(rate)).used == 500
    await quota.aclose()


@pytest.mark.parametrize("text", ["90 tokens/day", "90 tokens/hour", "2 concurrent"])
async def test_values_beyond_the_bound_share_one_count(valkey: ValkeyServer, text: str) -> None:
    here, quota = await store(valkey, values_max=5)
    rule = limit(f"{text} per end_user")
    running = [await here.admitted([rule.of_value(f"u{number}")], 9) for number in range(7)]
    shared = await here.state(rule.of_value("u5"))
    assert shared.limit == rule.of_others()
    assert shared == await here.state(rule.of_value("u99"))
    assert max(shared.used, shared.held) == (2 if "concurrent" in text else 18)
    own = await here.state(rule.of_value("u0"))
    assert max(own.used, own.held) == (1 if "concurrent" in text else 9)
    for reservation in running:
        here.end(reservation, 9)
    if "concurrent" in text:
        fresh = await here.admitted([rule.of_value("u77")])
        assert (await here.state(rule.of_value("u77"))).limit.value == "u77", "there is room again"
        here.end(fresh)
    await quota.aclose()


async def test_names_that_callers_make_are_counted_apart(valkey: ValkeyServer) -> None:
    here, quota = await store(valkey)
    rule = limit("90 tokens/day per tag:env")
    names = ["", "a", "a:1", "\x1f", "ü", "用户", "x" * 500, "\ud800", "{tk}", "%s", "a\x00b"]
    for number, name in enumerate(names):
        here.end(await here.admitted([rule.of_value(name)], 1), number + 1)
    used = [(await here.state(rule.of_value(name))).used for name in names]
    assert used == [number + 1 for number in range(len(names))]
    await quota.aclose()


async def test_a_full_server_refuses_and_still_counts_what_ends(tmp_path: Path) -> None:
    """Each end begins by taking memory away: then the server lets it write as well."""
    with valkey_server(tmp_path) as server:
        here, quota = await store(server)
        limits = [limit("900 tokens/day"), limit("900 tokens/hour"), limit("9 concurrent")]
        running = [await here.admitted(limits, 10) for _ in range(5)]
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(QuotaUnavailable, match="OOM"):
            await here.ask(limits, 10)
        for reservation in running:
            here.end(reservation, 3)
        assert [(await here.state(one)).used for one in limits] == [15, 15, 0]
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await here.admitted(limits, 10)
        assert (await here.figures(limits[0])) == (15, 10, 875)
        await quota.aclose()


async def test_an_end_that_overtakes_its_reserve_leaves_nothing_held(valkey: ValkeyServer) -> None:
    here, quota = await store(valkey)
    day = limit("900 tokens/day")
    ask = Demand(exchange_id="late", started_at_ms=NOW_MS, output_tokens=7)
    calls = quota._calls
    assert (await calls.ask(b"settle", ("late", [(0, 0)] * 6, True)))[0] == 2
    with pytest.raises(QuotaUnavailable, match="has ended"):
        await quota.reserve([day], ask, NOW_MS)
    assert await here.figures(day) == (0, 0, 900)
    await calls.ask(b"tidy", ("late",))
    await quota.reserve([day], ask, NOW_MS)
    assert await here.figures(day) == (0, 7, 893)
    await quota.aclose()
