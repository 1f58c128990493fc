"""A group of limits says and does what its limits say and do one by one."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec
import pytest

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import LimitState, Refused
from proxy.quota import Reservation
from proxy.quota.memory import MemoryQuota
from proxy.quota.memory.group import Group
from tests.quota.worlds import World, limit, world
from tests.support.effort import examples

RULES = (
    ("9 requests/minute", "key:alice"),
    ("4000 tokens/minute", "team:red"),
    ("900 output_tokens/second", "key:alice"),
    ("30 requests/day", "key:alice"),
    ("20_000 tokens/day", "proxy:"),
    ("20_000 tokens/month", "key:alice"),
    ("0.00009 USD/week", "team:red"),
    ("9 concurrent", "upstream:opt"),
    ("60 requests/total", "key:alice"),
)


@dataclass
class Twins:
    """Two stores with the same past: one is given sets of limits, the other lists."""

    grouped: MemoryQuota
    singly: MemoryQuota

    async def reserve(
        self, limits: LimitSet, ask: Demand, now_ms: int
    ) -> tuple[Reservation, Reservation] | None:
        one = await self.grouped.reserve(limits, ask, now_ms)
        other = await self.singly.reserve(list(limits), ask, now_ms)
        if isinstance(one, Refused) or isinstance(other, Refused):
            assert one == other
            return None
        assert (one.exceeded, one.tightest) == (other.exceeded, other.tightest)
        return one, other


async def history(seed: int) -> None:
    dice = random.Random(seed)
    here, beside = await world(), await world()
    assert isinstance(here.quota, MemoryQuota) and isinstance(beside.quota, MemoryQuota)
    beside.quota._monotonic_ms = here.clock
    twins = Twins(here.quota, beside.quota)
    rules = [
        limit(text, dice.choice(("finish", "cut", "strict", "warn")), whose)
        for text, whose in RULES
    ]
    kinds = [[dice.randrange(len(rules)) for _ in range(dice.randint(1, 5))] for _ in range(3)]
    kinds = [sorted(set(kind)) for kind in kinds]
    sets: dict[tuple[Limit, ...], LimitSet] = {}
    running: list[tuple[Reservation, Reservation]] = []
    for number in range(60):
        now_ms = here.clock.now_ms
        mine = tuple(rules[place] for place in dice.choice(kinds))
        output = dice.choice((0, 5, 300))
        ask = Demand(
            exchange_id=str(number),
            started_at_ms=now_ms - dice.choice((0, 0, 0, 4000)),
            input_tokens=dice.choice((0, 20)),
            output_tokens=output,
            charge_nano=3 * output,
            input_bound=40,
            output_bound=2 * output,
            charge_bound_nano=9 * output,
        )
        both = await twins.reserve(sets.setdefault(mine, LimitSet(mine)), ask, now_ms)
        if both is not None:
            running.append(both)
        move = dice.random()
        if running and move < 0.5:
            ended = running.pop(dice.randrange(len(running)))
            used = Used(input_tokens=9, output_tokens=dice.choice((0, output, 900)), charge_nano=7)
            for quota, reservation in zip((twins.grouped, twins.singly), ended, strict=True):
                quota.settle(reservation, used, now_ms)
        elif running and move < 0.6:
            ended = running.pop()
            twins.grouped.void(ended[0], now_ms)
            twins.singly.void(ended[1], now_ms)
        elif running and move < 0.7:
            grown = dice.choice(running)
            assert await twins.grouped.extend(grown[0], 2000, 900, now_ms) == (
                await twins.singly.extend(grown[1], 2000, 900, now_ms)
            )
        elif running and move < 0.75:
            left = dice.choice(running)
            twins.grouped.release_slots(left[0])
            twins.singly.release_slots(left[1])
        elif move < 0.8:
            credit = Credit(str(number), dice.choice(rules).id, 5000, now_ms, now_ms + 90_000)
            twins.grouped.grant(credit, now_ms)
            twins.singly.grant(credit, now_ms)
        elif move < 0.85:
            place = dice.randrange(len(rules))
            rules[place] = msgspec.structs.replace(rules[place], amount=dice.choice((10, 90_000)))
        elif move < 0.87:
            gone = dice.choice(rules)
            if not gone.smooth and not running:
                twins.grouped.forget([gone])
                twins.singly.forget([gone])
        here.clock.pass_ms(dice.choice((0, 1, 30, 900, 61_000, 4_000_000, 90_000_000)))
        now_ms = here.clock.now_ms
        assert await twins.grouped.states(rules, now_ms) == await twins.singly.states(rules, now_ms)
        assert twins.grouped.warnings(now_ms) == twins.singly.warnings(now_ms)


@pytest.mark.parametrize("block", range(5))
async def test_grouped_is_one_by_one(block: int) -> None:
    each = examples(60)
    for seed in range(block * each, block * each + each):
        await history(seed)


async def test_the_second_request_of_a_kind_takes_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = await world()
    taken: list[str] = []
    whole = Group.reserve
    monkeypatch.setattr(
        Group, "reserve", lambda self, ask, when: taken.append("") or whole(self, ask, when)
    )
    mine = LimitSet([limit("9 requests/day"), limit("90 tokens/minute")])
    for _ in range(3):
        here.end(await here.admitted(mine, 1), 1)
    assert len(taken) == 2
    assert (await here.state(mine[0])).used == 3


async def figures(here: World, mine: LimitSet) -> list[LimitState]:
    return [await here.state(one) for one in mine]


async def test_a_group_lets_nothing_through_that_its_limits_refuse() -> None:
    here = await world()
    mine = LimitSet([limit("3 requests/day"), limit("1000 tokens/day", "cut")])
    for _ in range(3):
        here.end(await here.admitted(mine, 1), 1)
    before = await figures(here, mine)
    assert (await here.refused(mine, 1)).limit == mine[0]
    assert await figures(here, mine) == before


async def test_the_store_remembers_so_many_groups_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = await world()
    quota = here.quota
    assert isinstance(quota, MemoryQuota)
    monkeypatch.setattr("proxy.quota.memory.GROUPS_MAX", 20)
    for number in range(100):
        mine = LimitSet([limit("9 requests/day", whose=f"key:{number}")])
        here.end(await here.admitted(mine, 1), 1)
        assert len(quota._groups) <= 20
    quota.forget([mine[0]])
    assert not quota._groups


async def test_what_is_taken_back_holds_for_the_next_request() -> None:
    here = await world()
    mine = LimitSet([limit("10 requests/day")])
    for _ in range(2):
        here.end(await here.admitted(mine, 1), 1)
    here.quota.grant(Credit("c", mine[0].id, -8, here.clock.now_ms), here.clock.now_ms)
    assert (await here.refused(mine, 1)).limit == mine[0]
