"""Rows of the ledger summed up, as `usage` sums them."""

from __future__ import annotations

from typing import Any

from proxy.core.records.canonical import COLUMNS, Value, row_values
from proxy.core.statements.tally import SUMS, Tally, unpriced
from proxy.ledger.reading import ALL_SUMS
from tests.ledger.samples import make_id, make_record

BY = ("team", "key", "model")


def row(n: int, **changes: Any) -> list[Value]:
    return [*row_values(make_record(n, **changes), n + 1, 0), b"", b""]


def test_the_sums_are_those_of_the_ledger() -> None:
    assert SUMS == ALL_SUMS and len(row(0)) == len(COLUMNS)


def test_lines_are_by_group_and_currency_unknown_names_first() -> None:
    tally = Tally(BY)
    for n, (team, currency) in enumerate([("b", "USD"), (None, "USD"), ("b", None), ("b", "USD")]):
        tally.add(row(n, team=team, currency=currency, cost_nano=n))
    assert [(r["team"], r["currency"], r["requests"], r["cost_nano"]) for r in tally.rows()] == [
        (None, "USD", 1, 1), ("b", None, 1, 2), ("b", "USD", 2, 3),
    ]  # fmt: skip


def test_a_correction_is_no_request_and_what_nobody_knows_stays_unknown() -> None:
    tally = Tally(BY)
    tally.add(row(0, currency="USD", cost_nano=5, cached_tokens=None))
    tally.add(row(1, kind="adjustment", adjusts="x", cost_nano=-7, currency="USD", input_tokens=-1))
    [line] = tally.rows()
    assert (line["requests"], line["cost_nano"], line["input_tokens"]) == (1, -2, 99)
    assert line["cached_tokens"] is None and line["reported_requests"] == 1


def test_the_first_price_of_a_record_takes_it_to_its_currency() -> None:
    tally = Tally(BY)
    tally.add(row(0, inconsistent=True))
    assert unpriced(tally.rows()) == 1
    fix = {"kind": "adjustment", "adjusts": make_id(0), "input_tokens": 1, "output_tokens": None}
    tally.add(row(1, **fix))
    tally.add(row(2, **fix, cost_nano=3, currency="CNY"))
    tally.add(row(3, **fix, cost_nano=4, currency="CNY"))
    [line] = tally.rows()
    assert (line["currency"], line["requests"], line["cost_nano"]) == ("CNY", 1, 7)
    assert (line["input_tokens"], line["inconsistent_requests"]) == (103, 1)
    assert unpriced([line]) == 0


def test_late_rows_are_told_apart_by_month() -> None:
    tally = Tally(("month", *BY), lambda at_ms: f"month {at_ms}")
    tally.add(row(0, started_at_ms=2))
    tally.add(row(1, started_at_ms=1))
    assert [line["month"] for line in tally.rows()] == ["month 1", "month 2"]
