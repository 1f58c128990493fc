"""`tollkeeper ledger adjust`, and where what it books is seen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.cli.test_statement_close import MONEY
from tests.ledger.samples import make_record

Call = Callable[..., Result]
ADJUST = ("ledger", "adjust", "--month", "2026-10", "--reason", "volume rebate")
REBATE = (*ADJUST, "--id", "r1", "--amount", "-0.001", "--currency", "usd", "--team", "research")


@pytest.fixture(autouse=True)
def booked(book: Callable[..., Path]) -> None:
    book(make_record(0, **MONEY), make_record(1, team="sales", **MONEY))


def test_nothing_is_booked_without_a_yes(call: Call) -> None:
    would = call(*REBATE, "--dry-run")
    assert would.exit_code == 0 and "1 row: nothing is booked yet." in would.stdout, would.output
    asked = call(*REBATE, piped="n\n")
    assert asked.exit_code == 1 and "Book 1 row?" in asked.stderr
    assert call("ledger", "status", "--json").stdout.count('"last_seq": 2') == 1
    done = call(*REBATE, piped="y\n")
    assert done.exit_code == 0 and "1 row booked." in done.stdout, done.output
    again = call(*REBATE, "--yes")
    assert "0 rows booked." in again.stdout and "1 of its rows are booked" in again.stderr


def test_an_entry_is_seen_everywhere(call: Call) -> None:
    assert (
        json.loads(call(*REBATE, "--yes", "--json").stdout)["lines"][0]["cost_nano"] == -1_000_000
    )
    usage = json.loads(call("usage", "--month", "2026-10", "--by", "team", "--json").stdout)
    assert [(row["team"], row["charge_nano"]) for row in usage[:2]] == [
        ("research", 1_000_000), ("sales", 2_000_000),
    ]  # fmt: skip
    statement = call("statement", "show", "2026-10").stdout
    assert "| 2026-10 | volume rebate | 1 | -0.001 | -0.001 | USD |" in statement
    lines = call("ledger", "export", "--format", "focus").stdout
    [entry] = [row for row in csv.DictReader(io.StringIO(lines)) if row["x_Kind"] == "adjustment"]
    assert (entry["ChargeCategory"], entry["BilledCost"]) == ("Adjustment", "-0.001")
    shown = call("record", "show", entry["x_RecordId"])
    assert shown.stdout.startswith("Entry by hand") and "volume rebate" in shown.stdout
    audit = json.loads(call("audit", "list", "--json").stdout)
    assert (audit[0]["action"], audit[0]["name"]) == ("ledger.adjust", "r1")


def test_an_entry_for_a_closed_month_is_in_the_next_statement(call: Call) -> None:
    assert call("statement", "close", "2026-10").exit_code == 0
    done = call(*REBATE, "--yes")
    assert "closed as statement 1: this is in the next statement" in done.stderr
    assert call("statement", "show", "2026-10").exit_code == 0
    assert "| 2026-10 | volume rebate |" in call("statement", "show", "2026-11").stdout


def test_use_moves_to_a_label(call: Call) -> None:
    move = (*ADJUST, "--id", "m1", "--team", "sales", "--to-label", "project=x", "--yes")
    done = call(*move)
    assert "2 rows booked. The requests (1) stay where they are" in done.stdout, done.output
    usage = json.loads(call("usage", "--by", "label:project", "--json").stdout)
    assert [(row["label:project"], row["charge_nano"]) for row in usage[:2]] == [
        (None, 2_000_000), ("x", 2_000_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("--id", "x"), 2, "name an --amount, or move"),
        (("--id", "x", "--amount", "1"), 2, "name the --currency"),
        (("--id", "x", "--amount", "1", "--to-team", "lab"), 2, "name an --amount, or move"),
        (("--id", "x", "--to-label", "x"), 2, "'x' is no label: write NAME=VALUE."),
        (("--amount", "1"), 2, "Missing option '--id'"),
        (("--id", "x", "--amount", "1", "--currency", "USD", "--json"), 2, "--dry-run or --yes"),
        (("--id", "x", "--amount", "1", "--currency", "EUR", "--yes"), 1, "no rate for 'EUR'"),
        (("--id", "x", "--amount", "1", "--currency", "USD", "--team", "sale"), 1, "'sales'"),
        (("--id", "x", "--amount", "-12,50", "--currency", "USD"), 2, "write -12.50"),
        (("--id", "x", "--amount", "1", "--month", "october"), 2, "'october' is no month"),
        (("--id", "x", "--amount", "1", "--zone", "Berlin"), 2, "write Europe/Berlin."),
    ],
)
def test_a_wrong_order_says_what_to_write(
    call: Call, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = call(*ADJUST, *words)
    assert result.exit_code == exit_code and said in result.stderr, result.output


async def test_the_running_process_books(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        words = (*ADJUST, "--id", "r2", "--amount", "5", "--currency", "USD", "--yes")
        result = await called(tmp_path, *words)
        assert "1 row booked." in result.stdout, result.output
        assert admin.proxy.server.services.reader.head() == 3
