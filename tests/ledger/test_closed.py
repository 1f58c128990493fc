"""Closed months as rows. What is wrong with one is in tests/ledger/contract/test_closings.py."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.closed import COLUMNS, LISTED, closed_of, closing_of, row_of, verified
from proxy.ledger.verification import VerifyStep
from tests.ledger.contract.test_closings import closed


def test_a_row_is_the_statement_again(tmp_path: Path) -> None:
    statement = closed(tmp_path / "ledger.key")
    row = row_of(statement)
    assert len(row) == len(COLUMNS)
    assert closed_of(row) == statement
    assert closing_of(row[: len(LISTED)]) == statement.closing


def test_behind_the_last_row_is_nothing() -> None:
    assert verified(None, None, None) == VerifyStep()
