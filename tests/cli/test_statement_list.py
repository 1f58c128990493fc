"""`tollkeeper statement list`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.cli.test_statement_close import MONEY
from tests.ledger.samples import make_record

Call = Callable[..., Result]


def test_closed_months_are_listed_in_their_order(call: Call, book: Callable[..., Path]) -> None:
    book(make_record(0, **MONEY), make_record(1, team="sales", **MONEY))
    assert "No month is closed" in call("statement", "list").stdout
    for words in (("--team", "sales"), ()):
        assert call("statement", "close", "2026-10", *words).exit_code == 0
    told = json.loads(call("statement", "list", "--json").stdout)
    assert [(one["number"], one["month"], one["team"]) for one in told] == [
        (1, "2026-10", "sales"), (2, "2026-10", None),
    ]  # fmt: skip
    lines = call("statement", "list").stdout.splitlines()
    assert lines[1].split()[:3] == ["1", "2026-10", "sales"] and len(lines) == 3


def test_a_month_before_a_closed_one_says_where_its_records_go(
    call: Call, book: Callable[..., Path]
) -> None:
    book(make_record(0, **MONEY))
    assert call("statement", "close", "2026-10").exit_code == 0
    shown = call("statement", "show", "2026-09")
    assert shown.exit_code == 0 and "Note: 2026-10 is closed already." in shown.stderr
    assert "is closed already" not in call("statement", "show", "2026-11").stderr
