"""A record and its adjustments in words: with costs for operators, with charges alone for teams."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.accounting.explained import Explained, in_words
from proxy.core.pricing import explanation
from proxy.core.usage import FREE, UsageRecord
from proxy.ledger.reading import Entry
from tests.core.pricing.test_explanation import BOOK, priced
from tests.ledger.samples import make_record

ZONE = ZoneInfo("UTC")


def row(record: UsageRecord, before: UsageRecord | None = None, **says: object) -> Explained:
    how = explanation.explain(record, BOOK, 2)
    fields = {"terms_known": True, "how": how, **says}
    return Explained(Entry(record, 1, 0, 1, "", ""), record, before, **fields)  # type: ignore[arg-type]


def versioned(**changes: object) -> UsageRecord:
    return priced(images=2, **{"price_version": BOOK.version, **changes})


def test_a_team_is_told_what_makes_its_charge_and_no_cost() -> None:
    told = in_words(row(versioned()), ZONE, costs=False)
    assert told is not None
    steps = dict(told.steps)
    # 100 × 2 CNY × 0.9 × 0.14 USD/CNY × 1.05, per million
    assert steps["input"] == "100 × 0.2646 USD / 1,000,000 = 0.00002646 USD"
    assert steps["charge"].startswith("= 0.13") and steps["charge"].endswith("the exact value")
    assert not {"row", "discount", "markup", "vendor bills", "cost", "exchange"} & set(steps)
    whole = in_words(row(versioned()), ZONE)
    assert whole is not None and {"row", "cost", "markup", "charge"} <= set(dict(whole.steps))


@pytest.mark.parametrize("costs", [True, False])
def test_an_adjustment_says_what_stood_before(costs: bool) -> None:
    before = make_record(0, cost_nano=None, charge_nano=1_500_000_000)
    told = in_words(row(versioned(), before), ZONE, costs=costs)
    assert told is not None and told.sentence.startswith("What the record came to from then on")
    steps = dict(told.steps)
    assert steps["charge before"].startswith("1.50, so that the adjustment is 0.13")
    assert ("cost before" in steps) == costs
    if costs:
        assert steps["cost before"].startswith("not known")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (row(msgspec.structs.replace(versioned(), price_version=None)), None),
        (row(versioned(), terms_known=False), "does not hold the prices"),
        (row(versioned(reason=FREE)), "Its path is free"),
        (row(versioned(), how=None), "No row of the prices"),
    ],
)
def test_where_nothing_is_worked_out_it_says_why(told: Explained, sentence: str | None) -> None:
    words = in_words(told, ZONE)
    if sentence is None:
        assert words is None
    else:
        assert words is not None and sentence in words.sentence and words.steps == []
