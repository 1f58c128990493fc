"""Crowds at every quota store: 200 requests at once at limits for exactly k of them.

True usage is random, and aborts and settles come between.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import Crossing, Reservation
from tests.quota.stores import Store
from tests.quota.worlds import World, limit, world


class Crowd:
    """200 requests of one caller at once; what was let through and what each used in the end."""

    def __init__(
        self, here: World, limits: list[Limit], dice: random.Random, likely: int, most: int
    ) -> None:
        self.here = here
        self.limits = limits
        self.dice = dice
        self.likely = likely
        self.most = most
        self.let_through = 0
        self.void = 0
        self.used = 0
        self.beyond_hold = 0

    async def one(self, *, ends: bool) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)
        answer = await self.here.ask(self.limits, self.likely, charge=self.likely, most=self.most)
        if isinstance(answer, Refused):
            return
        self.let_through += 1
        for _ in range(self.dice.randrange(5)):
            await asyncio.sleep(0)
        if ends and self.dice.random() < 0.1:
            self.void += 1
            self.here.void(answer)
            return
        used = self.dice.randint(0, self.most)
        self.used += used
        self.beyond_hold += max(0, used - self.likely)
        self.here.end(answer, used, charge=used)
        if self.dice.random() < 0.2:
            self.here.end(answer, 10**9, charge=10**9)  # a second end changes nothing

    async def rush(self, count: int = 200, *, ends: bool = True) -> None:
        await asyncio.gather(*(self.one(ends=ends) for _ in range(count)))


ROOMY = ["900_000 tokens/total", "1_000 concurrent", "0.9 USD/month"]


async def exactly_k(store: Store, seed: int) -> None:
    dice = random.Random(seed)
    here = await world(store)
    enforce, k = dice.choice(("finish", "cut", "strict")), dice.randrange(1, 60)
    exact = limit(
        f"{k} requests/{dice.choice(('day', 'week', 'month', 'total', 'second', 'minute', 'hour'))}",
        enforce,
    )
    others = [limit(text, whose="team:red") for text in ROOMY]
    limits = [exact, *others]
    dice.shuffle(limits)
    crowd = Crowd(here, limits, dice, 300, 900)
    await crowd.rush()
    assert k - crowd.void <= crowd.let_through - crowd.void <= k
    await crowd.rush(ends=False)
    assert crowd.let_through - crowd.void == k, "what was void another may use"
    assert (await here.figures(exact))[:2] == (k, 0)
    tokens, slots, money = [(await here.state(other)) for other in others]
    assert (tokens.used, tokens.held, slots.used, money.used, money.held) == (
        crowd.used,
        0,
        0,
        crowd.used,
        0,
    )


@pytest.mark.parametrize("seed", range(10))
async def test_of_200_at_once_exactly_k(store: Store, seed: int) -> None:
    await exactly_k(store, seed)


@pytest.mark.campaign
async def test_two_hundred_rounds_of_exactly_k(store: Store) -> None:
    for seed in range(200):
        await exactly_k(store, seed)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "text", ["20_000 tokens/day", "20_000 output_tokens/total", "0.00002 USD/month"]
)
async def test_strict_is_never_overspent(store: Store, text: str, seed: int) -> None:
    here, strict = await world(store), limit(text, "strict")
    crowd = Crowd(
        here, [strict, limit("5 USD/day", whose="team:red")], random.Random(seed), 300, 900
    )
    for _ in range(20):  # a store that answers later refuses more, while others hold the rest
        await crowd.rush(100)
        used, held, _ = await here.figures(strict)
        assert (used, held) == (crowd.used, 0)
        assert used <= 20_000
        if used > 19_000:
            break
    assert crowd.used > 19_000, "and it can be used nearly to its end"
    assert [one.share_ppm for one in await here.warnings() if isinstance(one, Crossing)] in (
        [],
        [1_000_000],
    )


@pytest.mark.parametrize("seed", range(10))
async def test_finish_goes_beyond_by_no_more_than_it_says(store: Store, seed: int) -> None:
    here, lenient = await world(store), limit("20_000 tokens/day")
    crowd = Crowd(here, [lenient], random.Random(seed), 300, 900)
    await crowd.rush(ends=False)
    await crowd.rush(ends=False)
    assert 20_000 <= crowd.used <= 20_000 + crowd.beyond_hold + crowd.likely
    assert (await here.figures(lenient))[:2] == (crowd.used, 0)


@pytest.mark.parametrize(
    ("text", "enforce"),
    [
        ("20 requests/second", "finish"),
        ("90 requests/minute", "cut"),
        ("5000 tokens/second", "strict"),
        ("40_000 tokens/minute", "strict"),
    ],
)
async def test_in_any_interval_a_rate_lets_no_more_through_than_it_promises(
    store: Store, text: str, enforce: str
) -> None:
    dice, here, rate = (
        random.Random(text),
        await world(store),
        limit(text, enforce, burst=4000 if "tokens" in text else 9),
    )
    period_ms = {"second": 1000, "minute": 60_000}[rate.per]
    running: list[tuple[Reservation, int]] = []
    spent: list[tuple[int, int]] = []
    for _ in range(1500):
        here.clock.pass_ms(dice.choice((0, 1, 10, 80)))
        answer = await here.ask([rate], 500, most=900)
        if not isinstance(answer, Refused):
            running.append((answer, here.clock.steady_ms))
        while running and dice.random() < 0.5:
            reservation, began_ms = running.pop(dice.randrange(len(running)))
            used = dice.randint(0, 900)
            here.end(reservation, used)
            spent.append((began_ms, used if rate.unit == "tokens" else 1))
    spent.sort()
    for first, (since_ms, _) in enumerate(spent):
        total = 0
        for at_ms, used in spent[first : first + 400]:
            total += used
            assert total * period_ms <= (rate.burst or 0) * period_ms + rate.amount * (
                at_ms - since_ms
            )
    fully = rate.amount * here.clock.steady_ms // period_ms
    assert sum(used for _, used in spent) > (fully - rate.amount * 10_000_000 // period_ms) // 3, (
        "and it lets a good part of the rate through"
    )
