"""Connections that only read: what they say where there is nothing to read, and that they cannot write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from proxy.ledger import Batch, LedgerError, LedgerUnavailable
from proxy.ledger.sqlite.read_only import connected, reading
from tests.ledger.samples import make_record, numbered, open_book


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (None, LedgerError, "tollkeeper serve"),
        (b"", LedgerError, "empty"),
        (
            b"not a database, but long enough to be read as one" * 100,
            LedgerUnavailable,
            "file is not a database. It is damaged, or no ledger: docs/keeping.md",
        ),
    ],
)
def test_no_ledger_to_read(
    tmp_path: Path, content: bytes | None, error: type[Exception], reason: str
) -> None:
    path = tmp_path / "ledger.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=reason), connected(path):
        pass


def test_nothing_is_written_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    connection, book = open_book(path)
    book.book(Batch("w0", numbered(make_record())))
    connection.close()
    before = path.read_bytes()
    with (
        reading(path) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("INSERT INTO journal_positions VALUES ('w9', 1)")
    assert path.read_bytes() == before


def test_one_transaction_sees_one_state(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writing, book = open_book(path)
    writing.execute("PRAGMA journal_mode = WAL")
    book.book(Batch("w0", numbered(make_record(0))))
    count = "SELECT count(*) FROM records"
    with reading(path) as one, connected(path) as each:
        assert one.execute(count).fetchone() == each.execute(count).fetchone() == (1,)
        book.book(Batch("w0", numbered(make_record(1), after=1)))
        assert one.execute(count).fetchone() == (1,)
        assert each.execute(count).fetchone() == (2,)
    writing.close()
