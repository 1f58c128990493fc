"""A ledger in SQLite as a whole: locked, of this version, with each row once and in order."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from proxy.ledger import Batch, LedgerError
from proxy.ledger.copying import DUMPED
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.dump import dumped
from proxy.ledger.sqlite.files import lock
from proxy.ledger.sqlite.schema import MIGRATIONS, migrate
from proxy.ledger.sqlite.sums import FAMILIES
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(make_record(0), make_record(1))))
    book.book(Batch("w0", numbered(make_record(2), after=2), price_versions=[("v", b"terms")]))
    connection.close()
    return tmp_path / "ledger.db"


def test_each_table_is_dumped_whole(path: Path) -> None:
    with dumped("sqlite:ledger.db", path.parent) as dump:
        assert [row[:2] for row in dump.rows("heads")] == [(2, 2), (3, 1)]
        assert [row[0] for row in dump.rows("records")] == [make_id(n) for n in range(3)]
        assert dump.id_span() == (make_id(0), make_id(2))
        assert [row[0::2] for row in dump.rows("price_versions")] == [("v", b"terms")]
        for table in DUMPED:
            assert dump.count(table) == len(list(dump.rows(table))), table
        assert dump.folded_until_ms() == START_MS // BUCKET_MS * BUCKET_MS
        assert dump.name == str(path)
        assert sum(int(row["requests"] or 0) for row in dump.usage()) == 3


def test_no_table_is_forgotten(path: Path) -> None:
    """What is made anew of the records, and what says how far, is not copied."""
    made = {"rollups", "fold", *(table for family in FAMILIES for table in family.tables)}
    made |= {"carried_sums"}
    with sqlite3.connect(path) as connection:
        tables = rows(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")
        assert {name for (name,) in tables} == made | set(DUMPED)
        for table, columns in DUMPED.items():
            [(sql,)] = rows(connection, "SELECT sql FROM sqlite_schema WHERE name = ?", table)
            assert all(column in sql for column in columns if (table, column) != ("heads", "rows"))
    connection.close()


def test_the_heads_of_a_pruned_book_begin_at_its_checkpoint(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO checkpoints VALUES (1, x'00', 1, 'k', x'00')")
    connection.close()
    with dumped("sqlite:ledger.db", path.parent) as dump:
        assert [row[:2] for row in dump.rows("heads")] == [(2, 1), (3, 1)]


def test_a_ledger_in_use_is_not_dumped_and_is_locked_meanwhile(path: Path) -> None:
    with dumped("sqlite:ledger.db", path.parent), pytest.raises(LedgerError, match="in use by"):
        lock(path)
    descriptor = lock(path)
    with (
        pytest.raises(LedgerError, match="in use by process"),
        dumped("sqlite:ledger.db", path.parent),
    ):
        pass
    os.close(descriptor)


def test_there_must_be_a_ledger_of_this_version(tmp_path: Path) -> None:
    with (
        pytest.raises(LedgerError, match="there is no ledger at"),
        dumped("sqlite:ledger.db", tmp_path),
    ):
        pass
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    migrate(connection, "x", MIGRATIONS[:10])
    connection.close()
    with (
        pytest.raises(LedgerError, match=r"version 10, .* start `tollkeeper serve` on it once"),
        dumped("sqlite:ledger.db", tmp_path),
    ):
        pass
