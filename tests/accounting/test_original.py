"""Costs in the currencies of their prices, against a plain sum of the records."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.accounting.original import ORIGINAL_BY, original_costs
from tests.ledger.conftest import PARAMS, kind, ledgers
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record

__all__ = ["PARAMS", "kind", "ledgers"]  # fixtures
SHANGHAI = ZoneInfo("Asia/Shanghai")
HOUR_MS = 3_600_000


def records() -> list[Any]:
    return [
        make_record(
            n,
            started_at_ms=START_MS + n * 7 * HOUR_MS,
            team=(None, "a", "b")[n % 3],
            upstream=("u", "v")[n % 2],
            cost_nano=None if n == 5 else 10 + n,
            currency=None if n == 5 else "USD",
            cost_original_nano=None if n in (4, 5) else 100 * n,
            price_currency=None if n == 5 else ("USD", "CNY")[n % 2],
        )
        for n in range(9)
    ]


def test_the_sums_are_those_of_the_records(ledgers: BookUnderTest) -> None:
    ledgers.book(*records())
    rows = original_costs(ledgers.reader(), ("upstream",), (None, None), SHANGHAI)
    assert [(row.names, row.price_currency, row.cost_original_nano, row.cost_nano) for row in rows] == [
        (("u",), "USD", 0 + 200 + 600 + 800, 10 + 12 + 14 + 16 + 18),
        (("v",), "CNY", 100 + 300 + 700, 11 + 13 + 17),
    ]  # fmt: skip
    assert rows[0].flat(("upstream",))["upstream"] == "u"


@pytest.mark.parametrize("by", ORIGINAL_BY)
def test_each_group_comes_to_the_whole(ledgers: BookUnderTest, by: str) -> None:
    ledgers.book(*records())
    reader = ledgers.reader()
    whole = {
        (r.price_currency, r.cost_nano) for r in original_costs(reader, (), (None, None), SHANGHAI)
    }
    summed = Counter[str | None]()
    for row in original_costs(reader, (by,), (None, None), SHANGHAI):
        summed[row.price_currency] += row.cost_nano or 0
    assert set(summed.items()) == whole


def test_a_day_is_of_the_zone_and_the_choice_narrows(ledgers: BookUnderTest) -> None:
    ledgers.book(*records())
    reader = ledgers.reader()
    days = {row.names[0] for row in original_costs(reader, ("day",), (None, None), SHANGHAI)}
    assert days == {
        f"{datetime.fromtimestamp(record.started_at_ms // 1000, SHANGHAI):%Y-%m-%d}"
        for record in records()
        if record.cost_nano is not None
    }
    [row] = original_costs(reader, ("team",), (None, None), SHANGHAI, team="a", through=2)
    assert (row.names, row.cost_nano) == (("a",), 11)
    bounds = (START_MS, START_MS + 1)
    assert [r.cost_nano for r in original_costs(reader, (), bounds, SHANGHAI, key="alice")] == [10]


def test_an_empty_ledger_has_no_costs(ledgers: BookUnderTest, tmp_path: Path) -> None:
    assert original_costs(ledgers.reader(), (), (None, None), SHANGHAI) == []
