"""Rates: which clock they flow by, what they say of themselves, and that time of day does not move
them."""

from __future__ import annotations

import pytest

from tests.quota.worlds import limit, world


async def test_rates_flow_by_the_steady_clock_alone() -> None:
    here, rate = await world(), limit("2 requests/second")
    for _ in range(2):
        await here.admitted([rate])
    for now_ms in (
        here.clock.now_ms + 10**9,
        0,
        here.clock.now_ms - 1_800_000,
    ):  # the time of day is set about
        here.clock.now_ms = now_ms
        assert (await here.refused([rate])).retry_after_ms == 500
    here.clock.steady_ms += 500
    await here.admitted([rate])


# limit, burst, taken -> used, remaining, empty again after (ms)
STATES = [
    ("60 requests/minute", None, 0, 0, 60, 0),
    ("60 requests/minute", None, 1, 1, 59, 1000),
    ("60 requests/minute", 5, 3, 3, 2, 3000),
    ("7 requests/second", None, 7, 7, 0, 1000),
    ("7 requests/second", None, 1, 1, 6, 143),
    ("1 requests/hour", 3, 1, 1, 2, 3_600_000),
]


@pytest.mark.parametrize(("text", "burst", "taken", "used", "remaining", "empty_ms"), STATES)
async def test_how_it_stands(
    text: str, burst: int | None, taken: int, used: int, remaining: int, empty_ms: int
) -> None:
    here, rate = await world(), limit(text, burst=burst)
    for _ in range(taken):
        await here.admitted([rate])
    state = await here.state(rate)
    assert (state.used, state.remaining, state.held, state.resets_at_ms) == (
        used,
        remaining,
        0,
        here.clock.now_ms + empty_ms,
    )


async def test_part_of_a_request_is_not_one() -> None:
    here, rate = await world(), limit("1 requests/second")
    await here.admitted([rate])
    here.clock.pass_ms(999)
    refused = await here.refused([rate])
    assert (refused.retry_after_ms, refused.state.remaining) == (1, 0)
    here.clock.pass_ms(1)
    await here.admitted([rate])


async def test_an_extension_is_taken_when_it_happens_and_comes_back_when_it_is_not_used() -> None:
    here, rate = await world(), limit("60 tokens/minute", "cut", burst=1000)
    stream = await here.admitted([rate], 100)
    here.clock.pass_ms(50_000)
    assert await here.quota.extend(stream, 400, None, here.clock.now_ms) is None
    assert (await here.state(rate)).used == 350
    here.clock.pass_ms(10_000)
    here.end(stream, 150)
    assert (await here.state(rate)).used == 90, (
        "100 at first and 50 a minute later, less the minute"
    )
    late = await here.admitted([rate], 10)
    here.clock.pass_ms(200_000)
    here.end(late, 500)
    here.clock.pass_ms(90_000)
    assert (await here.state(rate)).used == 400, (
        "what goes beyond is taken when it turns out, and leaks from then on"
    )


async def test_a_rate_of_nothing_never_comes() -> None:
    here, rate = await world(), limit("0 tokens/minute")
    refused = await here.refused([rate], 5)
    assert (refused.never, refused.retry_after_ms) == (True, None)
