"""What every quota store keeps, whichever its kind: held against an oracle in random histories, and
shown in crowds and in stories.

The stores are found by themselves: each module of `proxy.quota` that can `connect`. Each pain of
other proxies' users that is named here is one of a public thread.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import random
from zoneinfo import ZoneInfo

import pytest

from proxy import quota as package
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import Breach, Crossing, Past, QuotaError, Reservation, connect
from tests.quota.histories import history
from tests.quota.worlds import World, limit, world

BACKENDS = [
    module.name
    for module in pkgutil.iter_modules(package.__path__)
    if hasattr(importlib.import_module(f"proxy.quota.{module.name}"), "connect")
]
each_store = pytest.mark.parametrize("scheme", BACKENDS)


def test_there_are_stores_to_hold() -> None:
    assert "memory" in BACKENDS


async def histories(scheme: str, seeds: range) -> None:
    for seed in seeds:
        told = await history(scheme, seed, random.Random(seed).choice((10, 30, 60)))
        await told.restart()
        await told.compare()


@each_store
@pytest.mark.parametrize("block", range(10))
async def test_histories_against_the_oracle(scheme: str, block: int) -> None:
    await histories(scheme, range(block * 40, block * 40 + 40))


@pytest.mark.campaign
@each_store
async def test_five_thousand_histories_against_the_oracle(scheme: str) -> None:
    await histories(scheme, range(5000))


@each_store
@pytest.mark.parametrize("seed", range(20))
async def test_looking_tells_what_a_request_would_hear_and_takes_nothing(
    scheme: str, seed: int
) -> None:
    dice = random.Random(seed)
    here = await world(scheme)
    rules = (
        "2 requests/minute",
        "3 concurrent",
        "90 tokens/day",
        "60 output_tokens/hour",
        "0 requests/day",
    )
    limits = [
        limit(text, dice.choice(("finish", "cut", "strict", "warn")))
        for text in rules[: dice.choice((4, 4, 5))]
    ]
    running: list[Reservation] = []
    heard = set()
    for _ in range(30):
        mine = dice.sample(limits, dice.randint(1, len(limits)))
        output = dice.choice((0, 5, 70))
        before = [await here.state(one) for one in limits]
        looked = await here.look(mine, output, most=output)
        assert [await here.state(one) for one in limits] == before
        answer = await here.ask(mine, output, most=output)
        heard.add(type(answer))
        if isinstance(answer, Refused):
            assert looked == answer
        else:
            assert looked is None
            running.append(answer)
        if running and dice.random() < 0.4:
            here.end(running.pop(), dice.choice((0, 5, 40)))
        here.clock.now_ms += dice.choice((0, 100, 40_000))
    assert len(heard) == 2 or any(one.amount == 0 for one in limits)


# Crowds: 200 requests at once at limits for exactly k of them, with random true usage, aborts and
# settles between.


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


async def exactly_k(scheme: str, seed: int) -> None:
    dice = random.Random(seed)
    here = await world(scheme)
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


@each_store
@pytest.mark.parametrize("seed", range(10))
async def test_of_200_at_once_exactly_k(scheme: str, seed: int) -> None:
    await exactly_k(scheme, seed)


@pytest.mark.campaign
@each_store
async def test_two_hundred_rounds_of_exactly_k(scheme: str) -> None:
    for seed in range(200):
        await exactly_k(scheme, seed)


@each_store
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "text", ["20_000 tokens/day", "20_000 output_tokens/total", "0.00002 USD/month"]
)
async def test_strict_is_never_overspent(scheme: str, text: str, seed: int) -> None:
    here, strict = await world(scheme), limit(text, "strict")
    crowd = Crowd(
        here, [strict, limit("5 USD/day", whose="team:red")], random.Random(seed), 300, 900
    )
    for _ in range(4):
        await crowd.rush(100)
        used, held, _ = await here.figures(strict)
        assert (used, held) == (crowd.used, 0)
        assert used <= 20_000
    assert crowd.used > 19_000, "and it can be used nearly to its end"
    assert [
        one.share_ppm for one in here.quota.warnings(here.clock.now_ms) if isinstance(one, Crossing)
    ] in ([], [1_000_000])


@each_store
@pytest.mark.parametrize("seed", range(10))
async def test_finish_goes_beyond_by_no_more_than_it_says(scheme: str, seed: int) -> None:
    here, lenient = await world(scheme), limit("20_000 tokens/day")
    crowd = Crowd(here, [lenient], random.Random(seed), 300, 900)
    await crowd.rush(ends=False)
    await crowd.rush(ends=False)
    assert 20_000 <= crowd.used <= 20_000 + crowd.beyond_hold + crowd.likely
    assert (await here.figures(lenient))[:2] == (crowd.used, 0)


@each_store
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
    scheme: str, text: str, enforce: str
) -> None:
    dice, here, rate = (
        random.Random(text),
        await world(scheme),
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


# The pains of others' users.


@each_store
async def test_a_refused_request_takes_nothing_of_any_limit(scheme: str) -> None:
    """Refused calls that use up the requests of a minute."""
    here = await world(scheme)
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


@each_store
async def test_ten_thousand_aborted_requests_leave_no_slot_and_no_hold(scheme: str) -> None:
    """Phantom refusals from leaked holds: $111 enforced, $55 real."""
    dice, here = random.Random(5), await world(scheme)
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


@each_store
@pytest.mark.parametrize(
    "text", ["1_000 tokens/day", "1_000 output_tokens/total", "1_000 tokens/minute"]
)
async def test_a_hold_larger_than_the_limit_keeps_nobody_out_at_nothing_spent(
    scheme: str, text: str
) -> None:
    """Over-reservation that blocks agents at $0 spent."""
    for enforce in ("finish", "cut"):
        here, small = await world(scheme), limit(text, enforce)
        first = await here.admitted([small], 64_000)
        assert (await here.refused([small], 64_000)).limit == small, (
            "one at a time, since the first may use it all"
        )
        here.end(first, 20)
        here.end(await here.admitted([small], 64_000), 20)
        here.clock.pass_ms(60_000)
        assert (await here.state(small)).remaining >= 960
    here, strict = await world(scheme), limit(text, "strict")
    assert (await here.refused([strict], 20, most=64_000)).never


@each_store
async def test_what_others_hold_is_no_used_up_budget(scheme: str) -> None:
    here, day = await world(scheme), limit("1_000 tokens/day")
    first = await here.admitted([day], 1000)
    refused = await here.refused([day], 10)
    assert (refused.by_holds, refused.never, refused.retry_after_ms) == (True, False, 1000)
    here.end(first, 999)
    second = await here.admitted([day], 10)
    here.end(second, 10)
    refused = await here.refused([day], 10)
    assert (refused.by_holds, refused.retry_after_ms, refused.state.used) == (False, None, 1009)


@each_store
async def test_a_rate_counts_what_was_used_and_not_what_was_guessed(scheme: str) -> None:
    """100 requests that each guess 1000 tokens and use 100: at 60,000 tokens/minute nobody
    waits."""
    here, rate = await world(scheme), limit("60_000 tokens/minute")
    for _ in range(300):
        one = await here.admitted([rate], 1000)
        here.clock.pass_ms(100)
        here.end(one, 100)
    assert (await here.state(rate)).used <= 100


@each_store
async def test_the_refusal_told_is_the_one_that_lasts_longest(scheme: str) -> None:
    here = await world(scheme)
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


@each_store
async def test_a_slot_is_free_the_moment_its_client_leaves_and_once_only(scheme: str) -> None:
    here, slots = await world(scheme), limit("2 concurrent")
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


# A stream that outgrows what it took.


@each_store
async def test_extension_by_mode(scheme: str) -> None:
    # enforce, of 1000 already used, the stream took, wants in all -> held then, or the end
    for enforce, used, took, wants, held in [
        ("finish", 0, 100, 612, 612),
        ("finish", 900, 50, 5000, 5000),
        ("warn", 2000, 50, 5000, 5000),
        ("cut", 0, 100, 1000, 1000),
        ("cut", 0, 100, 1001, None),
        ("cut", 900, 50, 100, 100),
        ("cut", 900, 50, 101, None),
        ("cut", 0, 100, 50, 100),
        ("strict", 0, 100, 100, 100),
        ("strict", 0, 100, 1000, 1000),
        ("strict", 0, 100, 1001, None),
    ]:
        here, day, roomy = (
            await world(scheme),
            limit("1_000 tokens/day", enforce),
            limit("9_000 output_tokens/day", "cut"),
        )
        if used:
            here.end(await here.admitted([day], 0, most=0), used)
        stream = await here.admitted([roomy, day], took, most=took)
        answer = await here.quota.extend(stream, wants, None, here.clock.now_ms)
        if held is None:
            assert answer is not None
            assert (answer.limit, answer.remaining) == (day, 1000 - used - took)
            assert (await here.figures(day))[1] == took, "nothing was taken of any"
            assert (await here.figures(roomy))[1] == took
            assert (
                await here.quota.extend(stream, took + answer.remaining, None, here.clock.now_ms)
                is None
            ), "what remains can be had"
        else:
            assert answer is None
            assert (await here.figures(day))[1] == held
        here.end(stream, 10)
        assert (await here.figures(day))[:2] == (used + 10, 0)


@each_store
async def test_a_stream_grows_in_tokens_and_in_money(scheme: str) -> None:
    here, tokens, money, inputs = (
        await world(scheme),
        limit("9_000 tokens/day"),
        limit("0.000001 USD/day", "cut"),
        limit("500 input_tokens/day", "cut"),
    )
    stream = await here.admitted([tokens, money, inputs], 100, input=400, charge=300)
    assert await here.quota.extend(stream, 612, 900, here.clock.now_ms) is None
    assert [(await here.figures(one))[1] for one in (tokens, money, inputs)] == [1012, 900, 400]
    answer = await here.quota.extend(stream, 700, 1001, here.clock.now_ms)
    assert answer is not None
    assert answer.limit == money
    assert [(await here.figures(one))[1] for one in (tokens, money, inputs)] == [1012, 900, 400]


@each_store
async def test_a_stream_grows_by_what_credit_adds_and_no_more(scheme: str) -> None:
    here, day = await world(scheme), limit("100 tokens/day", "cut")
    stream, now_ms = await here.admitted([day], 100), here.clock.now_ms
    assert await here.quota.extend(stream, 150, None, now_ms) is not None
    here.quota.grant(Credit("a", day.id, 100, now_ms, now_ms + 1000), now_ms)
    assert await here.quota.extend(stream, 150, None, now_ms) is None
    here.clock.pass_ms(1000)
    assert await here.quota.extend(stream, 200, None, here.clock.now_ms) is not None, (
        "the credit has run out"
    )


# Warnings, credit, corrections.


@each_store
async def test_warnings_come_once_a_window(scheme: str) -> None:
    here, day = (
        await world(scheme, "2026-11-22T12:00"),
        limit("1_000 tokens/day", warn_at_ppm=(800_000, 950_000)),
    )

    async def use(tokens: int, rule: Limit = day) -> list[int]:
        here.end(await here.admitted([rule], 0), tokens)
        told = here.quota.warnings(here.clock.now_ms)
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


@each_store
async def test_a_budget_that_is_used_up_is_told_once_a_window(scheme: str) -> None:
    """By the use that takes the last of it, or by the first request that the rest is too little
    for; not while running requests hold it."""
    here = await world(scheme, "2026-11-22T12:00")
    finish, strict = limit("100 tokens/day"), limit("100 tokens/week", "strict")

    async def told() -> list[tuple[str, int, int]]:
        return [
            (one.state.limit.per, one.share_ppm, one.state.used)
            for one in here.quota.warnings(here.clock.now_ms)
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


@each_store
async def test_a_limit_of_nothing_is_not_told(scheme: str) -> None:
    """It is written to let nothing through."""
    here, none = await world(scheme), limit("0 requests/day")
    await here.refused([none])
    assert here.quota.warnings(here.clock.now_ms) == []


@each_store
async def test_a_limit_that_only_warns_lets_through_and_tells(scheme: str) -> None:
    here, day, rate, slots = (
        await world(scheme),
        limit("100 tokens/day", "warn"),
        limit("1 requests/minute", "warn"),
        limit("1 concurrent", "warn"),
    )
    limits = [day, rate, slots]
    first = await here.admitted(limits, 60)
    assert first.exceeded == ()
    second = await here.admitted(limits, 60)
    assert second.exceeded == (rate, slots), "of the day something was left"
    assert [
        one.state.limit
        for one in here.quota.warnings(here.clock.now_ms)
        if isinstance(one, Crossing)
    ] == [rate, slots]
    third = await here.admitted(limits, 60)
    assert third.exceeded == (day, rate, slots)
    assert here.quota.warnings(here.clock.now_ms) == [], "once in a while"
    for one in (first, second, third):
        here.end(one, 60)
    assert [
        (one.state.limit, one.share_ppm)
        for one in here.quota.warnings(here.clock.now_ms)
        if isinstance(one, Crossing)
    ] == [(day, 1_000_000)]
    here.clock.pass_ms(60_001)
    assert (await here.admitted(limits, 60)).exceeded == (day, rate), (
        "one minute has leaked away of three"
    )
    assert [
        one.state.limit
        for one in here.quota.warnings(here.clock.now_ms)
        if isinstance(one, Crossing)
    ] == [rate]


@each_store
async def test_a_vendor_that_bills_beyond_its_cap_is_told(scheme: str) -> None:
    here, strict = await world(scheme), limit("1_000 tokens/day", "strict")
    for used in (90, 100, 130, 170):
        here.end(
            await here.admitted([strict, limit("9 tokens/day", "warn", name="soft")], 50, most=100),
            used,
        )
    breaches = [one for one in here.quota.warnings(here.clock.now_ms) if isinstance(one, Breach)]
    assert breaches == [Breach(strict, 2, 100, 170)]


@each_store
async def test_credit_raises_a_limit_while_it_is_valid(scheme: str) -> None:
    here, day, total = (
        await world(scheme, "2026-11-22T12:00"),
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


@each_store
async def test_corrections_count_in_the_window_of_what_they_correct_while_it_is_open(
    scheme: str,
) -> None:
    here, day, month, rate = (
        await world(scheme, "2026-11-22T23:00"),
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


@each_store
async def test_restored_from_sums_and_records_and_what_is_known_is_left_alone(scheme: str) -> None:
    here = await world(scheme, "2026-11-22T12:00")
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
    assert here.quota.warnings(now_ms) == [], "what was reached before was told before"


@each_store
async def test_a_rate_with_no_record_before_some_time_is_taken_to_have_been_full(
    scheme: str,
) -> None:
    here, minute = await world(scheme), limit("60 requests/minute")
    now_ms = here.clock.now_ms
    await here.quota.restore(
        [Past((minute,), now_ms - age_ms, Used()) for age_ms in (0, 20_001, 30_000)],
        (),
        since_ms=now_ms - 20_000,
        now_ms=now_ms,
    )
    assert (await here.state(minute)).used == 41


@each_store
async def test_how_much_and_how_strictly_may_change_while_it_counts(scheme: str) -> None:
    here = await world(scheme)
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


@each_store
async def test_a_name_that_limits_something_else_begins_another_count(scheme: str) -> None:
    here, tokens, requests = (
        await world(scheme),
        limit("100 tokens/day", name="soft"),
        limit("3 requests/week", name="soft"),
    )
    here.end(await here.admitted([tokens]), 90)
    assert (await here.figures(requests)) == (0, 0, 3)
    await here.admitted([requests])
    assert (await here.figures(tokens)) == (90, 0, 10)


@each_store
async def test_the_tightest_limit_is_the_one_with_the_smallest_share_left(scheme: str) -> None:
    here = await world(scheme)
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


@pytest.mark.parametrize(
    "url", ["", "redis:", "counter:", "budget:x", "../memory:", "memory:x", "memory://h"]
)
async def test_a_store_that_does_not_exist_is_named(url: str) -> None:
    with pytest.raises(QuotaError, match=r"memory:"):
        await connect(url, ZoneInfo("UTC"))
