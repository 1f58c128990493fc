"""Rows of the book become lines: unknown amounts stay unknown, the rest adds up."""

from __future__ import annotations

from proxy.dataplane.pages.lines import UseLine, most_first, use_lines

ROW = {
    "team": "a",
    "currency": "USD",
    "requests": 2,
    "input_tokens": 10,
    "output_tokens": None,
    "cost_nano": 5,
    "charge_nano": 7,
    "unpriced_requests": 0,
    "reported_requests": 1,
}


def test_rows_without_a_price_stand_in_the_ledgers_currency() -> None:
    unpriced = {**ROW, "currency": None, "cost_nano": None, "charge_nano": None}
    rows = [ROW, {**unpriced, "unpriced_requests": 2}, {**ROW, "currency": "CNY"}]
    assert use_lines(rows, "team", "USD") == [
        UseLine("a", "USD", 4, 20, 0, 5, 7, 2, 2),
        UseLine("a", "CNY", 2, 10, 0, 5, 7, 0, 1),
    ]
    assert [line.label for line in use_lines(rows, None, "USD")] == [None, None]
    [unknown] = use_lines([unpriced], "team", "USD")
    assert unknown.charge_nano is None and unknown.cost_nano is None


def test_the_most_comes_first() -> None:
    lines = [
        UseLine(name, "USD", n, 0, 0, None, charge, 0, 0)
        for name, n, charge in (("asked", 9, None), ("dear", 1, 5), ("cheap", 1, 1))
    ]
    assert [line.label for line in sorted(lines, key=most_first)] == ["dear", "cheap", "asked"]
