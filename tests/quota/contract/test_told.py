"""What every quota store tells operators, and how often."""

from __future__ import annotations

from proxy.core.limits.limit import Limit
from proxy.quota import Breach, Crossing
from tests.quota.stores import Store
from tests.quota.worlds import limit, world


async def test_warnings_come_once_a_window(store: Store) -> None:
    here, day = (
        await world(store, "2026-11-22T12:00"),
        limit("1_000 tokens/day", warn_at_ppm=(800_000, 950_000)),
    )

    async def use(tokens: int, rule: Limit = day) -> list[int]:
        here.end(await here.admitted([rule], 0), tokens)
        told = await here.warnings()
        assert all(isinstance(one, Crossing) and one.state.limit.id == rule.id for one in told)
        return [one.share_ppm for one in told if isinstance(one, Crossing)]

    assert [await use(tokens) for tokens in (799, 1, 0, 149, 1, 40)] == [
        [],
        [800_000],
        [],
        [],
        [950_000],
        [],
    ]
    here.clock.pass_ms(86_400_000)
    assert [await use(tokens) for tokens in (2000,)] == [[800_000, 950_000, 1_000_000]], (
        "a new window, all at once"
    )
    here.clock.pass_ms(86_400_000)
    assert await use(850) == [800_000]
    raised = limit("2_000 tokens/day", warn_at_ppm=(800_000, 950_000))
    assert [await use(tokens, raised) for tokens in (100, 650)] == [[], [800_000]], (
        "out of reach by a higher amount, told again when reached again"
    )


async def test_a_budget_that_is_used_up_is_told_once_a_window(store: Store) -> None:
    """By the use that takes the last of it, or by the first request that the rest is too little
    for; not while running requests hold it."""
    here = await world(store, "2026-11-22T12:00")
    finish, strict = limit("100 tokens/day"), limit("100 tokens/week", "strict")

    async def told() -> list[tuple[str, int, int]]:
        return [
            (one.state.limit.per, one.share_ppm, one.state.used)
            for one in await here.warnings()
            if isinstance(one, Crossing)
        ]

    running = await here.admitted([finish, strict], 60, most=60)
    await here.refused([strict], most=60)
    assert await told() == [], "the rest is held, and may come back"
    here.end(running, 60)
    for _ in range(3):
        await here.refused([strict], most=60)
    assert await told() == [("week", 1_000_000, 60)]
    here.end(await here.admitted([finish], 10), 40)
    for _ in range(3):
        await here.refused([finish], 10)
    assert await told() == [("day", 1_000_000, 100)]
    here.clock.pass_ms(7 * 86_400_000)
    await here.refused([strict], most=101)
    assert await told() == [], "more than the limit ever has is no sign of its end"
    here.end(await here.admitted([finish, strict], 100, most=100), 100)
    assert await told() == [("day", 1_000_000, 100), ("week", 1_000_000, 100)]


async def test_a_limit_of_nothing_is_not_told(store: Store) -> None:
    """It is written to let nothing through."""
    here, none = await world(store), limit("0 requests/day")
    await here.refused([none])
    assert await here.warnings() == []


async def test_a_limit_that_only_warns_lets_through_and_tells(store: Store) -> None:
    here, day, rate, slots = (
        await world(store),
        limit("100 tokens/day", "warn"),
        limit("1 requests/minute", "warn"),
        limit("1 concurrent", "warn"),
    )
    limits = [day, rate, slots]
    first = await here.admitted(limits, 60)
    assert first.exceeded == ()
    second = await here.admitted(limits, 60)
    assert second.exceeded == (rate, slots), "of the day something was left"
    assert [one.state.limit for one in await here.warnings() if isinstance(one, Crossing)] == [
        rate,
        slots,
    ]
    third = await here.admitted(limits, 60)
    assert third.exceeded == (day, rate, slots)
    assert await here.warnings() == [], "once in a while"
    for one in (first, second, third):
        here.end(one, 60)
    assert [
        (one.state.limit, one.share_ppm)
        for one in await here.warnings()
        if isinstance(one, Crossing)
    ] == [(day, 1_000_000)]
    here.clock.pass_ms(60_001)
    assert (await here.admitted(limits, 60)).exceeded == (day, rate), (
        "one minute has leaked away of three"
    )
    assert [one.state.limit for one in await here.warnings() if isinstance(one, Crossing)] == [rate]


async def test_a_vendor_that_bills_beyond_its_cap_is_told(store: Store) -> None:
    here, strict = await world(store), limit("1_000 tokens/day", "strict")
    for used in (90, 100, 130, 170):
        here.end(
            await here.admitted([strict, limit("9 tokens/day", "warn", name="soft")], 50, most=100),
            used,
        )
    breaches = [one for one in await here.warnings() if isinstance(one, Breach)]
    assert breaches == [Breach(strict, 2, 100, 170)]
