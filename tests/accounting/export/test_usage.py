"""Sums of groups as csv and JSON, with totals that can be checked by hand."""

from __future__ import annotations

import csv
import io

from proxy.accounting.export.usage import COLUMNS, as_csv, totals, with_totals
from proxy.ledger.reading import UsageRow

SUMS = (
    "requests", "input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_long_tokens",
    "output_tokens", "reasoning_tokens", "searches", "cost_nano", "charge_nano", "currency", "reported_requests",
    "unpriced_requests", "inconsistent_requests",
)  # fmt: skip  # a table of words


def row(team: str | None, currency: str | None = "USD", **sums: int) -> UsageRow:
    found: UsageRow = dict.fromkeys(SUMS, None) | {"team": team, "currency": currency}
    return found | {"requests": 1} | sums


ROWS = [
    row("a", input_tokens=10, charge_nano=1_500_000_000),
    row("b", input_tokens=5, charge_nano=2_000_000_001),
    row("b", None, input_tokens=7),
    row(None, "CNY", charge_nano=4),
]


def test_a_total_for_each_currency_skips_what_is_not_known() -> None:
    found = [
        (one["currency"], one["requests"], one["input_tokens"], one["charge_nano"])
        for one in totals(ROWS, ["team"])
    ]
    assert found == [(None, 1, 7, None), ("CNY", 1, None, 4), ("USD", 2, 15, 3_500_000_001)]


def test_decimals_are_exact_and_a_total_is_told_from_a_group() -> None:
    found = with_totals(ROWS, ["team"])
    assert [(one["team"], one["row"], one["charge"]) for one in found] == [
        ("a", "group", "1.50"),
        ("b", "group", "2.000000001"),
        ("b", "group", None),
        (None, "group", "0.000000004"),
        (None, "total", None),
        (None, "total", "0.000000004"),
        (None, "total", "3.500000001"),
    ]
    assert [list(one) for one in found] == [["team", *COLUMNS]] * 7


def test_without_groups_the_rows_are_the_totals() -> None:
    whole = {name: value for name, value in ROWS[0].items() if name != "team"}
    assert [one["row"] for one in with_totals([whole], [])] == ["total"]


def test_csv_has_empty_fields_for_the_unknown_and_no_formula() -> None:
    lines = list(csv.reader(io.StringIO(as_csv([row("=1+1")], ["team"]).decode())))
    assert lines[0] == ["team", *COLUMNS]
    group = dict(zip(lines[0], lines[1], strict=True))
    assert not group["team"].startswith("=") and "=1+1" in group["team"]
    assert (group["requests"], group["input_tokens"], group["row"]) == ("1", "", "group")
