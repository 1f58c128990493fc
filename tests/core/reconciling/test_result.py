"""The sums of a comparison, and the differences that are told."""

from __future__ import annotations

import pytest

from proxy.core.reconciling import result
from proxy.core.reconciling.causes import Cause
from proxy.core.reconciling.result import BillVerdict, Tallies
from proxy.core.reconciling.sums import BilledSums, OwnSums


def sides(own_nano: int, billed_nano: int) -> tuple[OwnSums, BilledSums]:
    own, billed = OwnSums(), BilledSums()
    own.requests, own.cost_nano, own.record = 1, own_nano, f"r{own_nano}"
    billed.lines, billed.amount_nano, billed.id = 1, billed_nano, f"b{billed_nano}"
    return own, billed


def test_the_largest_differences_are_told_and_all_are_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result, "TOLD_MAX", 3)
    tallies = Tallies()
    for n in range(10):
        tallies.differ(BillVerdict.DIFFERING, Cause.PRICE, *sides(100, 100 + n * (-1) ** n))
    assert [one.difference_nano for one in tallies.largest()] == [-9, 8, -7]
    assert tallies.count == 10
    assert tallies.differing[Cause.PRICE].difference_nano == sum(n * (-1) ** n for n in range(10))


def test_verdicts_are_not_set_off_against_each_other() -> None:
    tallies = Tallies()
    own, billed = sides(7, 7)
    tallies.differ(BillVerdict.MISSING_HERE, None, None, billed)
    tallies.differ(BillVerdict.MISSING_THERE, None, own, None)
    tallies.match(*sides(5, 5))
    assert tallies.gross_nano() == 14
    assert tallies.matched.count == 1 and tallies.missing_here.difference_nano == 7
