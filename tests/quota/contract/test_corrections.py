"""Credits, corrections of the book and past use, at every quota store."""

from __future__ import annotations

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.quota import Past
from tests.quota.stores import Store
from tests.quota.worlds import limit, world


async def test_credit_raises_a_limit_while_it_is_valid(store: Store) -> None:
    here, day, total = (
        await world(store, "2026-11-22T12:00"),
        limit("100 tokens/day"),
        limit("100 tokens/total", name="trial"),
    )
    for one in (day, total):
        here.end(await here.admitted([one]), 100)
        await here.refused([one])
    now_ms, hour_ms = here.clock.now_ms, 3_600_000
    here.quota.grant(Credit("a", day.id, 50, now_ms), now_ms)
    here.quota.grant(Credit("a", day.id, 50, now_ms), now_ms)  # once, by its id
    here.quota.grant(Credit("b", "trial", 70, now_ms), now_ms)
    here.quota.grant(Credit("c", "trial", -20, now_ms), now_ms)
    here.quota.grant(Credit("d", day.id, 1000, now_ms, now_ms + hour_ms, "tokens"), now_ms)
    here.quota.grant(
        Credit("e", "trial", 50 * 10**9, now_ms, None, "USD"), now_ms
    )  # from when that name limited money
    assert [
        (state.granted, state.remaining) for state in await here.quota.states([day, total], now_ms)
    ] == [(1050, 1050), (50, 50)]
    here.clock.pass_ms(hour_ms)
    assert [
        (state.granted, state.remaining)
        for state in await here.quota.states([day, total], here.clock.now_ms)
    ] == [(50, 50), (50, 50)]
    here.clock.pass_ms(12 * hour_ms)
    assert [
        (state.granted, state.remaining)
        for state in await here.quota.states([day, total], here.clock.now_ms)
    ] == [(0, 100), (50, 50)], "for the day it was given"


async def test_corrections_count_in_the_window_of_what_they_correct_while_it_is_open(
    store: Store,
) -> None:
    here, day, month, rate = (
        await world(store, "2026-11-22T23:00"),
        limit("100 tokens/day"),
        limit("100 tokens/month"),
        limit("100 tokens/hour"),
    )
    limits, began_ms = [day, month, rate], here.clock.now_ms
    here.end(await here.admitted(limits, 100), 100)
    here.quota.adjust(limits, began_ms, Used(requests=0, output_tokens=-30), here.clock.now_ms)
    assert [state.used for state in await here.quota.states(limits, here.clock.now_ms)] == [
        70,
        70,
        100,
    ]
    here.clock.pass_ms(3 * 86_400_000)
    here.quota.adjust(limits, began_ms, Used(requests=0, output_tokens=-30), here.clock.now_ms)
    here.quota.adjust(
        [day], began_ms - 9 * 86_400_000, Used(requests=0, output_tokens=-9), here.clock.now_ms
    )
    assert [state.used for state in await here.quota.states(limits, here.clock.now_ms)] == [
        0,
        40,
        0,
    ]


async def test_restored_from_sums_and_records_and_what_is_known_is_left_alone(store: Store) -> None:
    here = await world(store, "2026-11-22T12:00")
    day, month, minute, live = (
        limit("100 tokens/day", warn_at_ppm=(500_000,)),
        limit("100 tokens/month"),
        limit("60 requests/minute"),
        limit("9 tokens/day", name="live"),
    )
    here.end(await here.admitted([live]), 5)
    now_ms = here.clock.now_ms
    past = [
        Past(
            (day, live), now_ms - 3_600_000, Used(requests=7, input_tokens=60, output_tokens=10)
        ),  # the sum of the day
        Past(
            (month,), now_ms - 20 * 86_400_000, Used(requests=9, output_tokens=80, charge_nano=None)
        ),  # of the month
        Past((day,), now_ms - 86_400_000, Used(output_tokens=1000)),  # a day that is over
        *(Past((minute,), now_ms - age_ms, Used()) for age_ms in (40_000, 30_500, 10_000, 0)),
    ]
    await here.quota.restore(
        past, [Credit("a", day.id, 11, now_ms)], since_ms=now_ms - 600_000, now_ms=now_ms
    )
    assert [
        state.used for state in await here.quota.states([day, month, minute, live], now_ms)
    ] == [70, 80, 1, 5]
    assert (await here.state(day)).granted == 11
    here.end(await here.admitted([day]), 1)
    assert await here.warnings() == [], "what was reached before was told before"


async def test_a_rate_with_no_record_before_some_time_is_taken_to_have_been_full(
    store: Store,
) -> None:
    here, minute = await world(store), limit("60 requests/minute")
    now_ms = here.clock.now_ms
    await here.quota.restore(
        [Past((minute,), now_ms - age_ms, Used()) for age_ms in (0, 20_001, 30_000)],
        (),
        since_ms=now_ms - 20_000,
        now_ms=now_ms,
    )
    assert (await here.state(minute)).used == 41
