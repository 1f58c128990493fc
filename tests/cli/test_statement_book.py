"""A closed statement of records that are not in the ledger any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.cli.test_statement_close import MONEY
from tests.ledger.samples import make_record

NOVEMBER_MS = 1_794_000_000_000


def test_archived_records_are_told_and_are_no_difference(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    data_dir = book(make_record(0, **MONEY))
    book(make_record(1, **MONEY | {"started_at_ms": NOVEMBER_MS}))
    for month in ("2026-10", "2026-11"):
        assert call("statement", "close", month).exit_code == 0
    shown = call("statement", "show", "2026-10")
    # As archiving leaves the book; the record that is left was booked in this test, after both.
    owner = sqlite3.connect(data_dir / "ledger.db", isolation_level=None)
    owner.execute("DROP TRIGGER records_no_delete")
    owner.execute("DELETE FROM records WHERE seq = 1")
    again = call("statement", "show", "2026-10")
    assert (again.exit_code, again.stdout) == (0, shown.stdout)
    assert "the ledger begins behind seq 1" in again.stderr
    verified = call("statement", "verify", "2026-10")
    assert verified.exit_code == 0 and "begins behind" in verified.stderr
    # It was not held against the ledger, so it is not said to agree with it.
    assert verified.stdout == "Statement 1 of 2026-10 is as it was closed.\n"
    # Where the first record that is left was booked before the month, all of the month is there.
    owner.execute("DROP TRIGGER records_no_update")
    owner.execute("UPDATE records SET booked_at_ms = ?", (MONEY["started_at_ms"],))
    november = call("statement", "show", "2026-11")
    assert november.exit_code == 0 and "begins behind" not in november.stderr
    owner.execute("UPDATE records SET charge_nano = 1")
    assert call("statement", "show", "2026-11").exit_code == 3
    owner.close()


def test_a_month_whose_records_have_left_is_not_closed(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    data_dir = book(make_record(0, **MONEY), make_record(1, **MONEY))
    owner = sqlite3.connect(data_dir / "ledger.db", isolation_level=None)
    owner.execute("DROP TRIGGER records_no_delete")
    owner.execute("DELETE FROM records WHERE seq = 1")
    owner.close()
    refused = call("statement", "close", "2026-10")
    assert refused.exit_code == 1 and "no archive is known" in refused.stderr
    assert "No month is closed" in call("statement", "list").stdout


def test_a_statement_that_is_another_one_s_says_which(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    book(make_record(0, **MONEY), make_record(1, **MONEY | {"team": "sales"}))
    assert call("statement", "close", "2026-10", "--team", "sales").exit_code == 0
    unclosed = call("statement", "verify", "2026-10")
    assert "not closed for all teams; closed apart are sales (--team)" in unclosed.stderr
    assert "`tollkeeper statement close 2026-10` does it" in unclosed.stderr
    assert call("statement", "close", "2026-10").exit_code == 0
    told = call("statement", "verify", "2026-10", "--team", "research")
    assert told.exit_code == 1 and "statement 2 of all teams" in told.stderr
    assert "Leave --team out." in told.stderr
    shown = call("statement", "show", "2026-10", "--team", "research")
    assert shown.exit_code == 0, shown.output
    assert "closed for all teams as statement 2, which counts team research too" in shown.stderr
    alone = call("statement", "show", "2026-11", "--team", "research", "--save", "x")
    assert "`tollkeeper statement close 2026-11 --team research` does it" in alone.stderr
