"""The likely cause, from what both sides say."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.reconciling.causes import Cause, cause, slack, under_other_terms
from proxy.core.reconciling.sums import BilledSums, OwnSums
from tests.accounting.reconciling.books import PRICES, priced


def sides(own: dict[str, Any], billed: dict[str, Any]) -> tuple[OwnSums, BilledSums]:
    ours, theirs = OwnSums(), BilledSums()
    for sums, says in ((ours, {"requests": 1} | own), (theirs, {"lines": 1} | billed)):
        for name, value in says.items():
            setattr(sums, name, value)
    return ours, theirs


CASES: list[tuple[dict[str, Any], dict[str, Any], Cause | None]] = [
    ({"cost_nano": 100}, {"amount_nano": 200, "again": 1, "again_nano": 100}, Cause.RETRY),
    ({"failed": 1}, {"amount_nano": 500}, Cause.RETRY),
    ({"cost_nano": 100, "retried": 1, "requests": 2}, {"amount_nano": 150, "requests": 3}, Cause.RETRY),
    ({"cost_nano": 1_000_000}, {"amount_nano": 1_000_400, "unit_nano": 1000}, Cause.ROUNDING),
    ({"cost_nano": 100, "cut": 1}, {"amount_nano": 500}, Cause.CANCELLED),
    ({"cost_nano": 500, "cut": 1}, {"amount_nano": 100}, None),
    ({"cost_nano": 500, "cut": 1}, {"amount_nano": 100, "cancelled": True}, Cause.CANCELLED),
    ({"cost_nano": 500, "guessed": 1}, {"amount_nano": 100}, Cause.ESTIMATE),
    ({"cost_nano": 500, "input_tokens": 9, "cached_tokens": 3}, {"amount_nano": 700, "input_tokens": 9, "cached_tokens": 0}, Cause.CACHED_AS_INPUT),
    ({"cost_nano": 500}, {"amount_nano": 700, "tiers": {"priority"}}, Cause.OTHER_TIER),
    ({"cost_nano": 500, "input_tokens": 9}, {"amount_nano": 700, "input_tokens": 9}, Cause.PRICE),
    ({"unpriced": 1}, {"amount_nano": 700}, Cause.UNPRICED),
    ({"cost_nano": 500}, {"amount_nano": 420, "back_nano": -80}, Cause.REFUND),
    ({"cost_nano": 500}, {"amount_nano": 420, "back_nano": -70}, None),
    ({"cost_nano": 500, "at_rate_nano": 505}, {"amount_nano": 504}, Cause.EXCHANGE_RATE),
    ({"cost_nano": 500, "at_rate_nano": 500}, {"amount_nano": 504}, None),
    ({"cost_nano": 500}, {"amount_nano": 700}, None),
    ({"output_tokens": 5, "cut": 1}, {"output_tokens": 9}, Cause.CANCELLED),
    ({"output_tokens": 5, "guessed": 1}, {"output_tokens": 9}, Cause.ESTIMATE),
]  # fmt: skip


@pytest.mark.parametrize(("own", "billed", "found"), CASES)
def test_what_the_counts_leave_as_the_only_reason(
    own: dict[str, Any], billed: dict[str, Any], found: Cause | None
) -> None:
    assert cause(*sides(own, billed), 1) is found


def test_an_amount_that_another_price_gives_exactly_is_proof() -> None:
    record = priced(0, cached_tokens=600)
    others = under_other_terms(record, PRICES, model="gpt-4o-mini", currency="USD")
    assert set(others) == {
        (Cause.CACHED_AS_INPUT, "uncached"),
        (Cause.OTHER_TIER, "priority"),
        (Cause.OTHER_TIER, "priority uncached"),
        (Cause.MODEL_ALIAS, "gpt-4o-mini"),
        (Cause.MODEL_ALIAS, "gpt-4o-mini uncached"),
    }
    assert len(set(others.values())) == 5
    for (name, _), amount in others.items():
        own, billed = sides({"cost_nano": record.cost_nano}, {"amount_nano": amount})
        assert cause(own, billed, 1, others) is name


def test_each_record_and_line_may_be_rounded_once() -> None:
    own, billed = sides({"requests": 10}, {"lines": 4})
    assert (slack(own, billed, 1000).exact_nano, slack(own, billed, 1000).shown_nano) == (14, 2014)
    assert slack(own, billed, 10**9).shown_nano == 14 + 4 * 5_000_000, "never more than half a cent"
