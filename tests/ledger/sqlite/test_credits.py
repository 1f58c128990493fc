"""Credits in SQLite: for good, and told where they cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.ledger import LedgerUnavailable
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add
from tests.ledger.contract.test_credits import CREDIT
from tests.ledger.samples import open_book


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Booker]]:
    connection, book = open_book(tmp_path / "ledger.db")
    yield connection, book
    connection.close()


def test_a_ledger_that_cannot_take_it_says_so(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable):
        add(connection, CREDIT)


def test_a_credit_is_not_changed(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    add(connection, CREDIT)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE grants SET amount = 1")
