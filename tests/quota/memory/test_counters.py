"""Counts of values that callers make up: bounded, and no way to more than the bound explains."""

from __future__ import annotations

import tracemalloc
from zoneinfo import ZoneInfo

import pytest

from proxy.config.settings import MetricsSettings
from proxy.core.limits.decisions import Used
from proxy.core.limits.dimensions import MISSING, OTHERS
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.metrics.collector import Metrics
from proxy.quota import VALUES_MAX, Past
from proxy.quota.memory import MemoryQuota
from tests.quota.worlds import World, limit, world

EACH = limit("3 requests/day per tag:run", whose="team:red")
DAY_MS = 86_400_000


async def store(values_max: int = VALUES_MAX) -> tuple[World, MemoryQuota]:
    clock = (await world()).clock
    quota = MemoryQuota(ZoneInfo("UTC"), clock, values_max=values_max)
    return World(quota, clock), quota


async def let_through(here: World, one: Limit) -> bool:
    answer = await here.ask([one])
    if isinstance(answer, Refused):
        return False
    here.end(answer)
    return True


async def test_each_value_has_a_count_of_its_own() -> None:
    here, _ = await store()
    for value in ("r1", "r2", "é", "e\u0301", MISSING):
        assert [await let_through(here, EACH.of_value(value)) for _ in range(4)] == [
            True,
            True,
            True,
            False,
        ]


async def test_values_beyond_the_bound_share_one_count_and_give_nothing_back() -> None:
    """Whoever names ever new values gets the bound and one times the limit, in whatever order."""
    here, quota = await store(values_max=5)
    passed = 0
    for _ in range(6):
        for number in range(40):
            passed += await let_through(here, EACH.of_value(f"r{number}"))
    assert passed == (5 + 1) * 3
    assert len(quota.limits()) == 6
    shared = EACH.of_value("another")
    refused = await here.refused([shared])
    assert refused.limit.value == OTHERS and (await here.state(shared)).used == 3
    assert (await here.state(EACH.of_value("r0"))).used == 3, "the first ones keep their count"


async def test_requests_without_a_value_keep_their_count_beyond_the_bound() -> None:
    here, _ = await store(values_max=2)
    for number in range(9):
        await let_through(here, EACH.of_value(f"r{number}"))
    assert await let_through(here, EACH.of_value(MISSING))
    assert (await here.state(EACH.of_value(MISSING))).used == 1


async def test_room_comes_back_with_a_new_window() -> None:
    here, quota = await store(values_max=30)
    for number in range(60):
        await let_through(here, EACH.of_value(f"old-{number}"))
    here.clock.pass_ms(DAY_MS)
    for number in range(5):  # the first of them share a count, and make room
        await let_through(here, EACH.of_value(f"new-{number}"))
    assert await let_through(here, EACH.of_value("late"))
    assert EACH.of_value("late") in quota.limits()


async def test_what_holds_something_keeps_its_count() -> None:
    here, quota = await store(values_max=3)
    slot = limit("1 concurrent per tag:run", whose="team:red")
    running = await here.admitted([slot.of_value("r1")])
    for number in range(50):
        here.end(await here.admitted([slot.of_value(f"o{number}")]))
    assert (await here.refused([slot.of_value("r1")])).limit.value == "r1"
    here.end(running)
    assert len(quota.limits()) <= 4


async def test_a_rebuilt_store_keeps_the_bound_and_counts_nothing_twice() -> None:
    here, quota = await store(values_max=5)
    now_ms = here.clock.now_ms
    past = [
        Past((EACH.of_value(f"r{number}"),), now_ms, Used()) for number in range(8) for _ in "12"
    ]
    for _ in range(2):  # a reload restores once more
        await quota.restore(past, (), since_ms=now_ms, now_ms=now_ms)
    used = [(await here.state(one)).used for one in quota.limits()]
    assert sorted(used) == [2, 2, 2, 2, 2, 6]


async def test_a_limit_that_is_gone_takes_the_counts_of_its_values_along() -> None:
    here, quota = await store()
    for value in ("r1", "r2"):
        await let_through(here, EACH.of_value(value))
    quota.forget([EACH])
    assert quota.limits() == ()


async def many(values: int, at_most_mb: float) -> None:
    here, quota = await store()
    rules = [
        EACH,
        limit("90 tokens/minute per header:x-run", whose="key:a"),
        limit("2 concurrent per end_user", whose="key:a"),
    ]
    tracemalloc.start()
    try:
        for number in range(values):
            mine = [rule.of_value(f"value-{number}") for rule in rules]
            answer = await here.ask(mine, 1)
            if not isinstance(answer, Refused):
                here.end(answer, 1)
            here.clock.pass_ms(1)
        held_mb = tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()
    assert len(quota.limits()) <= 3 * (VALUES_MAX + 1)
    assert held_mb < at_most_mb
    metrics = Metrics(MetricsSettings(), "1")
    metrics.limits.show(await quota.states(quota.limits(), here.clock.now_ms))
    page = metrics.render().decode()
    labels = f'{{id="red",limit="{EACH.id}",scope="team"}}'
    assert f"tollkeeper_limit_values{labels} {VALUES_MAX + 1}.0" in page
    assert f"tollkeeper_limit_values_shared{labels} 1.0" in page


async def test_ever_new_values_stay_within_memory() -> None:
    await many(12_000, 40)


@pytest.mark.campaign
async def test_a_million_values_stay_within_memory() -> None:
    await many(1_000_000, 60)
