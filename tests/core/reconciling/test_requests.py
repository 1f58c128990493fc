"""One request on both sides, or on one."""

from __future__ import annotations

import pytest

from proxy.core.reconciling.causes import Cause
from proxy.core.reconciling.requests import compare_request
from proxy.core.reconciling.result import Tallies
from proxy.core.reconciling.sums import BilledSums, OwnSums
from tests.core.reconciling.test_result import sides


def compared(own: OwnSums, billed: BilledSums, **inside: bool) -> Tallies:
    tallies = Tallies()
    compare_request(tallies, own, billed, 0, dict, **inside)
    return tallies


def test_what_one_side_has_alone() -> None:
    own, billed = sides(7, 9)
    assert compared(own, BilledSums()).missing_there.own_nano == 7
    assert compared(OwnSums(), billed).missing_here.billed_nano == 9
    own.cost_nano = 0
    assert compared(own, BilledSums()).count == 0, "what cost nothing is on no bill"


@pytest.mark.parametrize(
    ("own_inside", "billed_inside", "difference"), [(True, False, -7), (False, True, 9)]
)
def test_a_request_on_two_sides_of_the_periods_end(
    own_inside: bool, billed_inside: bool, difference: int
) -> None:
    found = compared(*sides(7, 9), own_inside=own_inside, billed_inside=billed_inside)
    assert found.differing[Cause.DAY_BOUNDARY].difference_nano == difference


def test_what_lies_outside_on_both_sides_is_not_compared() -> None:
    found = compared(*sides(7, 9), own_inside=False, billed_inside=False)
    assert found.count == 0 and found.matched.count == 0
