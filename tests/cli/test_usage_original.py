"""`tollkeeper usage --original` and `--zone`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import Result

from tests.ledger.samples import START_MS, make_record

Call = Callable[..., Result]
PRICED = {
    "cost_nano": 140, "charge_nano": 150, "currency": "USD", "price_currency": "CNY",
    "cost_original_nano": 1_000,
}  # fmt: skip


@pytest.fixture(autouse=True)
def booked(book: Callable[..., Path]) -> None:
    book(
        make_record(0, **PRICED), make_record(1, started_at_ms=START_MS + 3_600_000 * 20, **PRICED)
    )


def test_costs_are_shown_in_the_currency_of_their_prices(call: Call) -> None:
    words = ("usage", "--original", "--by", "upstream")
    table = call(*words)
    assert table.exit_code == 0 and "0.000002" in table.stdout and "CNY" in table.stdout
    [row] = json.loads(call(*words, "--json").stdout)
    assert row == {
        "upstream": "modelmax", "cost_original_nano": 2_000, "price_currency": "CNY",
        "cost_nano": 280, "currency": "USD",
    }  # fmt: skip
    assert call(*words, "--format", "csv").stdout == (
        "upstream,cost_original,price_currency,cost,currency\n"
        "modelmax,0.000002,CNY,0.00000028,USD\n"
    )
    assert "No costs in this range." in call(*words, "--month", "2020-01").stdout
    wrong = call("usage", "--original", "--by", "tag:x")
    assert wrong.exit_code == 2 and "and not by tag:x" in wrong.stderr


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_days_are_those_of_the_zone_that_is_named(call: Call, zone: str) -> None:
    rows = json.loads(call("usage", "--by", "day", "--zone", zone, "--json").stdout)
    days = {
        f"{datetime.fromtimestamp(ms // 1000, ZoneInfo(zone)):%Y-%m-%d}"
        for ms in (START_MS, START_MS + 3_600_000 * 20)
    }
    assert [row["day"] for row in rows if row["row"] == "group"] == sorted(days)
    assert f"({zone})" in call("usage", "--month", "2026-11", "--zone", zone).stdout


def test_a_name_that_is_no_zone_is_refused(call: Call) -> None:
    wrong = call("usage", "--zone", "Mars")
    assert wrong.exit_code == 2 and "there is no zone 'Mars': write UTC" in wrong.stderr
