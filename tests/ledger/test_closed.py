"""Closed months as rows. What is wrong with one is in tests/ledger/contract/test_closings.py."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.closed import (
    COLUMNS,
    LISTED,
    closed_of,
    closing_of,
    held_against_the_audit,
    row_of,
)
from proxy.ledger.verification import VerifyStep
from tests.ledger.contract.test_closings import closed


def test_a_row_is_the_statement_again(tmp_path: Path) -> None:
    statement = closed(tmp_path / "ledger.key")
    row = row_of(statement)
    assert len(row) == len(COLUMNS)
    assert closed_of(row) == statement
    assert closing_of(row[: len(LISTED)]) == statement.closing


def test_without_statements_and_audit_nothing_is_wrong() -> None:
    for audited in ([], [(None,), ("{}",)]):
        assert held_against_the_audit([], audited) == VerifyStep(findings=[])
