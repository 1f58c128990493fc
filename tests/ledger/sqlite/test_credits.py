"""Credits in the book: each once, for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.limits.credit import Credit
from proxy.ledger import LedgerUnavailable
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, read
from tests.ledger.samples import open_book

CREDIT = Credit(
    id="c1",
    granted_at_ms=1,
    limit_id="trial",
    unit="tokens",
    amount=-5,
    valid_until_ms=9,
    reason="r",
    granted_by="ops",
)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Booker]]:
    connection, book = open_book(tmp_path / "ledger.db")
    yield connection, book
    connection.close()


def test_a_credit_is_booked_once_and_read_back(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    add(connection, CREDIT)
    add(connection, Credit(id="c1", granted_at_ms=2, limit_id="other", unit="tokens", amount=7))
    add(connection, Credit(id="c2", granted_at_ms=3, limit_id="other", unit="USD", amount=7))
    assert read(connection) == [
        CREDIT,
        Credit(id="c2", granted_at_ms=3, limit_id="other", unit="USD", amount=7),
    ]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE grants SET amount = 1")


def test_a_ledger_that_cannot_take_it_says_so(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable):
        add(connection, CREDIT)
