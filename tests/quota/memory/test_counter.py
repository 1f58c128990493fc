"""What all kinds of counters share: a counter is blank just when forgetting it changes nothing."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.core.calendar import Calendar
from proxy.core.limits.limit import Limit
from proxy.quota.memory.budget import Budget
from proxy.quota.memory.counter import LimitCount, When
from proxy.quota.memory.rate import Rate
from proxy.quota.memory.slots import Slots
from tests.quota.worlds import limit

DAY_MS = 86_400_000
RULES = (
    "100 tokens/day",
    "100 tokens/total",
    "100 tokens/minute",
    "3 requests/second",
    "2 concurrent",
)


def counter_of(rule: Limit) -> LimitCount:
    if rule.windowed:
        return Budget(rule, Calendar(ZoneInfo("UTC")), {})
    return Rate(rule, 0) if rule.smooth else Slots(rule, 0)


@pytest.mark.parametrize("text", RULES)
def test_blank_is_what_says_the_same_as_a_new_one(text: str) -> None:
    rule = limit(text)
    counter, start = counter_of(rule), When(DAY_MS, DAY_MS, 0)
    assert counter.is_blank(start)
    left = counter.look(start)
    place = counter.take(1)
    assert not counter.is_blank(start)
    assert counter.look(start) == left - counter.scale
    counter.settle(place, 1, 1, lambda: 0)
    later = When(2 * DAY_MS, 2 * DAY_MS, 3_600_000)
    assert counter.is_blank(start) == (counter.state(start) == counter_of(rule).state(start))
    assert (
        counter.is_blank(later)
        == (counter.state(later) == counter_of(rule).state(later))
        == (rule.per != "total")
    )


@pytest.mark.parametrize("text", RULES)
def test_what_runs_is_not_blank_whenever_it_began(text: str) -> None:
    counter, start, later = (
        counter_of(limit(text)),
        When(DAY_MS, DAY_MS, 0),
        When(9 * DAY_MS, 9 * DAY_MS, 3_600_000),
    )
    counter.look(start)
    place = counter.take(1)
    assert not counter.is_blank(later)
    counter.settle(place, 1, 0, lambda: 3_600_000)
    assert counter.is_blank(later)
