"""Credits in the book: each once, for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.limits.credit import Credit
from proxy.ledger import LedgerUnavailable
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, newest, read
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


def test_the_newest_come_first_of_one_limit_and_by_page(
    opened: tuple[sqlite3.Connection, Booker],
) -> None:
    connection, _ = opened
    for number in range(6):  # the ids do not say the order
        limit_id = ("trial", "other")[number % 2]
        add(
            connection,
            Credit(
                id=f"c{9 - number}",
                granted_at_ms=1,
                limit_id=limit_id,
                unit="tokens",
                amount=number,
            ),
        )

    def amounts(limit_id: str | None, after: str | None, most: int) -> list[int]:
        return [each.amount for each in newest(connection, limit_id, after, most)]

    assert amounts(None, None, 9) == [5, 4, 3, 2, 1, 0]
    assert amounts("trial", None, 9) == [4, 2, 0]
    assert amounts("trial", None, 2) == [4, 2] and amounts("trial", "c7", 2) == [0]
    assert amounts(None, "c5", 1) == [3]
    assert amounts(None, "unknown", 9) == amounts("nobody", None, 9) == []
