"""What every quota store lets through and refuses.

Each pain of other proxies' users that is named here is one of a public thread.
"""

from __future__ import annotations

import random

import pytest

from proxy.core.limits.state import Refused
from proxy.quota import Reservation
from tests.quota.stores import Store
from tests.quota.worlds import limit, world


async def test_a_refused_request_takes_nothing_of_any_limit(store: Store) -> None:
    """Refused calls that use up the requests of a minute."""
    here = await world(store)
    generous = [
        limit("100 requests/minute"),
        limit("9 concurrent"),
        limit("9 USD/day", whose="team:red"),
        limit("500 tokens/hour", "strict", "proxy:"),
    ]
    full = limit("0 requests/day", whose="upstream:v")
    before = await here.quota.states(generous, here.clock.now_ms)
    for order in (0, 2, 4):
        limits = [*generous[:order], full, *generous[order:]]
        for _ in range(20):
            refused = await here.refused(limits, 10, charge=5, most=20)
            assert refused.limit == full
            assert [state.limit for state in refused.states] == limits
    assert await here.quota.states(generous, here.clock.now_ms) == before


async def test_ten_thousand_aborted_requests_leave_no_slot_and_no_hold(store: Store) -> None:
    """Phantom refusals from leaked holds: $111 enforced, $55 real."""
    dice, here = random.Random(5), await world(store)
    limits = [
        limit("0.000000001 USD/total", "warn"),
        limit("8 concurrent"),
        limit("900_000_000 tokens/day", "strict", "team:red"),
        limit("50_000 requests/hour", whose="proxy:"),
    ]
    running: list[Reservation] = []
    real = 0
    for step in range(10_000):
        answer = await here.ask(limits, 90, charge=7, most=500)
        if not isinstance(answer, Refused):
            running.append(answer)
        if isinstance(answer, Refused) or dice.random() < 0.5:
            gone = running.pop(dice.randrange(len(running)))
            if dice.random() < 0.5:
                here.quota.release_slots(gone)
            if dice.random() < 0.3:
                await here.quota.extend(gone, 400, 20, here.clock.now_ms)
                here.end(gone, 30, charge=2)
                real += 30
            elif dice.random() < 0.5:
                here.void(gone)
            else:
                here.end(gone)
        here.clock.pass_ms(step % 3)
    for gone in running:
        here.void(gone)
    here.clock.pass_ms(3_600_000)
    assert [
        (state.used, state.held) for state in await here.quota.states(limits, here.clock.now_ms)
    ] == [(real // 15, 0), (0, 0), (real, 0), (0, 0)]


@pytest.mark.parametrize(
    "text", ["1_000 tokens/day", "1_000 output_tokens/total", "1_000 tokens/minute"]
)
async def test_a_hold_larger_than_the_limit_keeps_nobody_out_at_nothing_spent(
    store: Store, text: str
) -> None:
    """Over-reservation that blocks agents at $0 spent."""
    for enforce in ("finish", "cut"):
        here, small = await world(store), limit(text, enforce)
        first = await here.admitted([small], 64_000)
        assert (await here.refused([small], 64_000)).limit == small, (
            "one at a time, since the first may use it all"
        )
        here.end(first, 20)
        here.end(await here.admitted([small], 64_000), 20)
        here.clock.pass_ms(60_000)
        assert (await here.state(small)).remaining >= 960
    here, strict = await world(store), limit(text, "strict")
    assert (await here.refused([strict], 20, most=64_000)).never


async def test_what_others_hold_is_no_used_up_budget(store: Store) -> None:
    here, day = await world(store), limit("1_000 tokens/day")
    first = await here.admitted([day], 1000)
    refused = await here.refused([day], 10)
    assert (refused.by_holds, refused.never, refused.retry_after_ms) == (True, False, 1000)
    here.end(first, 999)
    second = await here.admitted([day], 10)
    here.end(second, 10)
    refused = await here.refused([day], 10)
    assert (refused.by_holds, refused.retry_after_ms, refused.state.used) == (False, None, 1009)


async def test_a_rate_counts_what_was_used_and_not_what_was_guessed(store: Store) -> None:
    """100 requests that each guess 1000 tokens and use 100: at 60,000 tokens/minute nobody
    waits."""
    here, rate = await world(store), limit("60_000 tokens/minute")
    for _ in range(300):
        one = await here.admitted([rate], 1000)
        here.clock.pass_ms(100)
        here.end(one, 100)
    assert (await here.state(rate)).used <= 100


async def test_the_refusal_told_is_the_one_that_lasts_longest(store: Store) -> None:
    here = await world(store)
    second, hour, slots = (
        limit("1 requests/second"),
        limit("1 requests/hour"),
        limit("1 concurrent"),
    )
    day, month, total = (
        limit("1 requests/day"),
        limit("1 requests/month"),
        limit("1 requests/total"),
    )
    await here.admitted([second, hour, slots, day, month, total])
    here.clock.pass_ms(100)
    never = limit("5 tokens/day", "strict")
    for limits, told in [
        ([second, hour, slots], hour),
        ([slots, second], slots),
        ([month, hour, day], month),
        ([total, month], total),
        ([second, total, never, hour], never),
        ([day, slots], day),
    ]:
        for order in (limits, limits[::-1]):
            assert (await here.refused(order, 9, most=9)).limit == told


async def test_a_slot_is_free_the_moment_its_client_leaves_and_once_only(store: Store) -> None:
    here, slots = await world(store), limit("2 concurrent")
    one, two = await here.admitted([slots]), await here.admitted([slots])
    assert (await here.refused([slots])).limit == slots
    for _ in range(2):
        here.quota.release_slots(one)
    three = await here.admitted([slots])
    here.end(one)
    here.quota.release_slots(one)
    assert (await here.figures(slots)) == (2, 0, 0)
    for reservation in (two, three):
        here.void(reservation)
    assert (await here.figures(slots)) == (0, 0, 2)


async def test_how_much_and_how_strictly_may_change_while_it_counts(store: Store) -> None:
    here = await world(store)
    for text, other in [
        ("100 tokens/day", "50 tokens/day"),
        ("100 tokens/hour", "50 tokens/hour"),
        ("100 tokens/total", "50 tokens/total"),
    ]:
        before, after = limit(text), limit(other, "strict")
        running = await here.admitted([before], 60)
        assert (await here.refused([after], 0, most=1)).state.amount == 50
        here.end(running, 20)
        assert (await here.state(after)).remaining == 30
        here.end(await here.admitted([after], 0, most=30), 30)
        assert (await here.state(before)).remaining == 50
    slots = limit("1 concurrent")
    one = await here.admitted([slots])
    assert (await here.refused([slots])).limit == slots
    two = await here.admitted([limit("2 concurrent")])
    for reservation in (one, two):
        here.end(reservation)
    assert (await here.figures(slots)) == (0, 0, 1)


async def test_a_name_that_limits_something_else_begins_another_count(store: Store) -> None:
    here, tokens, requests = (
        await world(store),
        limit("100 tokens/day", name="soft"),
        limit("3 requests/week", name="soft"),
    )
    here.end(await here.admitted([tokens]), 90)
    assert (await here.figures(requests)) == (0, 0, 3)
    await here.admitted([requests])
    assert (await here.figures(tokens)) == (90, 0, 10)


async def test_the_tightest_limit_is_the_one_with_the_smallest_share_left(store: Store) -> None:
    here = await world(store)
    roomy, tight, slots = (
        limit("1_000 requests/day"),
        limit("100 tokens/day"),
        limit("3 concurrent"),
    )
    one = await here.admitted([roomy, tight, slots], 60)
    assert one.tightest is not None
    assert (one.tightest.limit, one.tightest.remaining) == (tight, 40)
    two = await here.admitted([roomy, limit("9_000 tokens/day", whose="key:bob"), slots], 60)
    assert two.tightest is not None
    assert (two.tightest.limit, two.tightest.remaining) == (slots, 1)
    assert (await here.admitted([])).tightest is None
