"""The booking transaction in SQLite: all or nothing, and in few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger import BATCH_MAX, Batch, Booked, LedgerUnavailable, Refusal
from proxy.ledger.sqlite.booking import Booker
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, open_book, rows


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection, _ = open_book(tmp_path / "ledger.db")
    yield connection
    connection.close()


@pytest.fixture
def book(connection: sqlite3.Connection) -> Booker:
    return Booker(connection, KEY, lambda: START_MS + 5000)


def everything(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    tables = [
        name
        for (name,) in rows(
            connection,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
    ]
    return {table: rows(connection, f"SELECT * FROM {table}") for table in tables}


def test_a_sum_beyond_63_bits_is_carried_and_booking_goes_on(
    connection: sqlite3.Connection, book: Booker
) -> None:
    for n in range(3):
        put(book, *(make_record(n * 64 + i, output_tokens=2**56) for i in range(64)), after=n * 64)
    [(requests, tokens)] = rows(connection, "SELECT requests, output_tokens FROM rollups")
    query = "SELECT output_tokens FROM carried_sums WHERE span = 'rollups'"
    [(units,)] = rows(connection, query)
    assert (requests, tokens + units * 2**62) == (192, 192 * 2**56)


def put(book: Booker, *records: UsageRecord, after: int = 0) -> Booked:
    return book.book(Batch("w0", numbered(*records, after=after)))


@pytest.mark.parametrize(
    "table", ["records", "rollups", "heads", "journal_positions", "end_users", "refusals"]
)
def test_a_batch_that_fails_anywhere_leaves_nothing_and_can_be_booked_later(
    connection: sqlite3.Connection, book: Booker, table: str
) -> None:
    put(book, make_record(0))
    before = everything(connection)
    connection.execute(
        f"CREATE TRIGGER failing BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the disk says no'); END"
    )
    batch = numbered(*(make_record(n) for n in range(1, 20)), after=1)
    refusals = [Refusal(0, "alice", "x", 1)]
    with pytest.raises(LedgerUnavailable, match="the disk says no"):
        book.book(Batch("w0", batch, salts=[("look-up", b"salt")], refusals=refusals))
    assert everything(connection) == before
    connection.execute("DROP TRIGGER failing")
    assert book.book(Batch("w0", batch, salts=[("look-up", b"salt")], refusals=refusals)) == Booked(
        inserted=19, known=0, adjustments=0
    )
    assert rows(connection, "SELECT count(*), max(seq) FROM records") == [(20, 20)]


def test_a_booked_row_that_was_tampered_with_is_not_adjusted_but_told(
    connection: sqlite3.Connection, book: Booker
) -> None:
    put(book, make_record(0))
    connection.execute("DROP TRIGGER records_no_update")
    connection.execute("UPDATE records SET outcome = 'invented'")
    with pytest.raises(LedgerUnavailable, match=make_id(0)):
        put(book, make_record(0))


def test_look_ups_come_in_few_statement_sizes(connection: sqlite3.Connection, book: Booker) -> None:
    """Each other size is one more cached statement with its own memory."""
    seen: set[str] = set()
    connection.set_trace_callback(
        lambda sql: (
            seen.add(sql.partition("IN (")[0] + str(sql.count(","))) if "id IN (" in sql else None
        )
    )
    for size in range(1, BATCH_MAX + 1):
        put(book, *(make_record(size * 100 + n) for n in range(size)))
    assert len(seen) == 3
