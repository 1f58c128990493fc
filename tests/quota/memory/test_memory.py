"""The store in memory: what it forgets, how much it holds, and that nothing ends twice."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.limits.state import Refused
from proxy.quota import Past, QuotaUnavailable
from proxy.quota.memory import MemoryQuota
from tests.quota.worlds import World, limit, world


async def store(**bounds: int) -> tuple[World, MemoryQuota]:
    here = await world()
    quota = MemoryQuota(ZoneInfo("UTC"), here.clock, **bounds)
    return World(quota, here.clock), quota


async def test_a_second_end_is_counted_and_changes_nothing() -> None:
    here, quota = await store()
    day, slots = limit("100 tokens/day"), limit("3 concurrent")
    one = await here.admitted([day, slots], 10)
    here.end(one, 5)
    assert quota.resolved_twice == 0
    here.end(one, 50)
    here.void(one)
    quota.release_slots(one)
    assert (await here.figures(day), await here.figures(slots)) == ((5, 0, 95), (0, 0, 3))
    assert quota.resolved_twice == 2


async def test_names_that_clients_make_up_leave_nothing_behind() -> None:
    """Under `auth: forward` each credential is a key with limits of its own."""
    here, quota = await store()
    shared = limit("9_000 requests/second", whose="proxy:")
    busy = await here.admitted(
        [limit("9 concurrent", whose="key:busy"), limit("9 tokens/minute", whose="key:busy")], 5
    )
    for number in range(3000):
        own = [
            limit(text, whose=f"key:fwd-{number}")
            for text in ("60 requests/minute", "9 concurrent", "1_000 tokens/hour")
        ]
        here.end(await here.admitted([shared, *own]), 0)
        here.clock.pass_ms(1000)
    assert len(quota.limits()) < 400
    assert {"key:busy/concurrent", "key:busy/tokens/minute"} <= {
        one.id for one in quota.limits()
    }, "what runs is not forgotten"
    here.end(busy, 5)


async def test_a_counter_made_on_the_way_displaces_none_that_was_just_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A blank counter may be forgotten, but not between the look at it and the taking."""
    here, _ = await store()
    slots = limit("1 concurrent")
    here.end(await here.admitted([slots]))
    for number in range(20):
        running = await here.admitted(
            [
                slots,
                *(limit("5 requests/second", whose=f"key:{number}-{other}") for other in range(5)),
            ]
        )
        assert (await here.refused([slots])).limit == slots
        here.end(running)
        here.clock.pass_ms(5000)


async def test_beyond_the_bound_new_keys_wait_and_known_ones_go_on() -> None:
    here, quota = await store(counters_max=50)
    for number in range(50):
        here.end(await here.admitted([limit("100 tokens/day", whose=f"key:{number}")]), 3)
    with pytest.raises(QuotaUnavailable, match="no room for more keys"):
        await here.ask([limit("100 tokens/day", whose="key:late")])
    assert await here.figures(limit("100 tokens/day", whose="key:7")) == (3, 0, 97)
    here.end(await here.admitted([limit("100 tokens/day", whose="key:7")]), 3)
    assert len(quota.limits()) == 50
    here.clock.pass_ms(86_400_000)
    for _ in range(2):  # the first finds no room yet, and makes it
        try:
            answer = await here.ask([limit("100 tokens/day", whose="key:late")])
        except QuotaUnavailable:
            continue
    assert not isinstance(answer, Refused)


async def test_a_book_of_more_keys_than_there_is_room_for_is_restored_without_them() -> None:
    here, quota = await store(counters_max=10)
    shared, now_ms = limit("100 requests/day", whose="team:red"), here.clock.now_ms
    past = [
        Past((limit("9 requests/day", whose=f"key:{number}"), shared), now_ms, Used())
        for number in range(20)
    ]
    await quota.restore(past, (), since_ms=now_ms, now_ms=now_ms)
    assert len(quota.limits()) == 10 and await here.figures(shared) == (20, 0, 80)
    quota.adjust([limit("9 requests/day", whose="key:19")], now_ms, Used(), now_ms)


async def test_a_limit_that_nobody_has_any_more_is_forgotten_and_what_runs_ends() -> None:
    here, quota = await store()
    day, slots = limit("100 tokens/day"), limit("3 concurrent")
    one = await here.admitted([day, slots], 10)
    quota.forget([day, limit("5 tokens/month")])
    assert quota.limits() == (slots,)
    here.end(one, 5)
    assert quota.resolved_twice == 0 and await here.figures(slots) == (0, 0, 3)
    await quota.restore(
        [Past((day,), here.clock.now_ms, Used(output_tokens=40))],
        (),
        since_ms=here.clock.now_ms,
        now_ms=here.clock.now_ms,
    )
    assert await here.figures(day) == (40, 0, 60)
    for number in range(
        30
    ):  # the order in which counters are looked at for going has none that is gone
        here.end(await here.admitted([limit("5 tokens/minute", whose=f"key:{number}")], 1))


async def test_refused_names_leave_nothing_behind_either() -> None:
    here, quota = await store()
    full = limit("0 requests/day", whose="proxy:")
    for number in range(300):
        await here.refused([full, limit("9 tokens/minute", whose=f"key:fwd-{number}")])
    assert len(quota.limits()) < 20


async def test_looking_makes_no_counter() -> None:
    here, quota = await store()
    for text in ("5 tokens/day", "5 tokens/minute", "5 concurrent"):
        assert (await here.state(limit(text))).remaining == 5
    assert quota.limits() == ()
