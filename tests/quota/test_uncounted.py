"""Limits whose use is not known, since the ledger was away at the start."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Enforce
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import Refused
from proxy.ledger import LedgerUnavailable
from proxy.quota import Past, Quota, QuotaUnavailable, SharedOptions
from proxy.quota.uncounted import UncountedQuota
from tests.quota.worlds import World, limit, world

STRICT = limit("3 requests/day", "strict", "team:research")
SOFT = limit("3 requests/day", "finish")
SLOTS = limit("2 concurrent", "finish")
COUNTED = frozenset({Enforce.WARN, Enforce.FINISH, Enforce.CUT})


async def uncounted(
    *, is_shared: bool = False, counted: frozenset[Enforce] = COUNTED, outage_max_s: float = 60.0
) -> tuple[World, UncountedQuota]:
    made = await world()
    options = SharedOptions(counted=counted, outage_max_s=outage_max_s)
    before = UncountedQuota(made.quota, options, is_shared=is_shared)
    made.quota = cast(Quota, before)
    return made, before


async def restored(made: World, before: UncountedQuota, amount: int) -> None:
    """So many requests are in the book."""
    past = [Past((SOFT, STRICT), made.clock.now_ms, Used(requests=amount))]
    now_ms = made.clock.now_ms
    await before.store.restore(past, (), since_ms=now_ms, now_ms=now_ms)
    before.counted()


@pytest.mark.parametrize("is_shared", [False, True])
async def test_strict_refuses_until_the_book_was_read(is_shared: bool) -> None:
    made, before = await uncounted(is_shared=is_shared)
    for limits in ([STRICT], [SOFT, STRICT]):
        with pytest.raises(QuotaUnavailable, match="the ledger cannot be read"):
            await made.ask(LimitSet(limits))
        with pytest.raises(QuotaUnavailable):
            await made.look(LimitSet(limits))
    assert before.failures == 2
    await restored(made, before, 2)
    await made.admitted(LimitSet([STRICT]))
    assert isinstance(await made.ask(LimitSet([STRICT])), Refused)


async def test_what_passed_meanwhile_counts_once() -> None:
    made, before = await uncounted()
    ended = [await made.admitted(LimitSet([SOFT])) for _ in range(5)]
    running, void = await made.admitted(LimitSet([SOFT])), await made.admitted(LimitSet([SOFT]))
    for one in ended:
        made.end(one)
    made.void(void)
    assert await made.figures(SOFT) == (0, 0, 3), "the book counts it"
    await restored(made, before, 5)
    assert (await made.figures(SOFT))[0] == 5
    made.end(running)
    assert (await made.figures(SOFT))[0] == 6
    assert isinstance(await made.ask(LimitSet([SOFT])), Refused)


async def test_slots_hold_meanwhile() -> None:
    made, before = await uncounted()
    first = await made.admitted(LimitSet([SLOTS, SOFT]))
    await made.admitted(LimitSet([SLOTS, SOFT]))
    assert isinstance(await made.ask(LimitSet([SLOTS, SOFT])), Refused)
    await restored(made, before, 0)
    assert isinstance(await made.ask(LimitSet([SLOTS])), Refused)
    made.end(first)
    await made.admitted(LimitSet([SLOTS]))


async def test_an_operator_may_have_all_refused_at_once_or_after_a_while() -> None:
    made, _ = await uncounted(counted=frozenset())
    with pytest.raises(QuotaUnavailable):
        await made.ask(LimitSet([SOFT]))
    made, _ = await uncounted(outage_max_s=-1.0)
    with pytest.raises(QuotaUnavailable):
        await made.ask(LimitSet([SOFT]))
    await made.admitted(LimitSet([]))


async def test_counts_that_others_share_go_on() -> None:
    made, before = await uncounted(is_shared=True, outage_max_s=-1.0)
    made.end(await made.admitted(LimitSet([SOFT])))
    assert (await made.figures(SOFT))[0] == 1
    await restored(made, before, 9)
    assert (await made.figures(SOFT))[0] == 1, "the store has it, and the book adds nothing"


async def test_no_other_may_build_the_counts_first() -> None:
    """A reload that brings limits would leave out what passed without a count."""
    made, before = await uncounted()
    with pytest.raises(LedgerUnavailable):
        await made.quota.restore((), (), since_ms=0, now_ms=0)
    made.quota.adjust([SOFT], made.clock.now_ms, Used(requests=1), made.clock.now_ms)
    assert made.quota.limits() == ()
    await restored(made, before, 0)
    await made.quota.restore((), (), since_ms=0, now_ms=made.clock.now_ms)
    assert before.is_counted
