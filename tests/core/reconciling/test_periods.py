"""Names and periods: which sums are compared with which."""

from __future__ import annotations

from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.periods import (
    OwnSlices,
    Pair,
    PeriodMatcher,
)
from tests.accounting.reconciling.books import DAY_MS, HOUR_MS, NOVEMBER_MS
from tests.core.reconciling.test_result import sides


def test_two_days_of_which_one_has_what_the_other_lacks() -> None:
    """A request that ran over midnight: dated by its start here, and by its end there."""
    pairs = {
        (NOVEMBER_MS + n * DAY_MS, "m"): Pair(*sides(own, billed))
        for n, (own, billed) in enumerate([(1000, 600), (500, 900), (700, 700)])
    }
    slices = OwnSlices()
    for (start_ms, model), pair in pairs.items():
        slices.add(start_ms + 7 * HOUR_MS, model, pair.own.cost_nano)
    matcher = PeriodMatcher(Level.DAY, pairs, slices, 1, lambda start_ms: start_ms + DAY_MS)
    assert matcher.start() == []
    found = matcher.finish({})
    assert found.differing["day_boundary"].difference_nano == 0
    assert found.matched.count == 1 and matcher.shift_ms is None


def test_half_hours_add_up_over_any_zone() -> None:
    slices = OwnSlices()
    for n in range(96):
        slices.add(NOVEMBER_MS + n * HOUR_MS // 2, "m", n)
    assert slices.between(NOVEMBER_MS, NOVEMBER_MS + DAY_MS, "m") == sum(range(48))
    assert slices.between(NOVEMBER_MS + HOUR_MS // 2, NOVEMBER_MS + HOUR_MS, "m") == 1
    assert slices.between(NOVEMBER_MS, NOVEMBER_MS + DAY_MS, "other") == 0
    slices.add(NOVEMBER_MS, "other", 5)
    slices.rename({"m": "both", "other": "both"})
    assert slices.between(NOVEMBER_MS, NOVEMBER_MS + DAY_MS, "both") == sum(range(48)) + 5
