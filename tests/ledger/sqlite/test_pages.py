"""Pages of a book in SQLite: no page holds up the write-ahead log, and none is sorted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.ledger import Batch, QuestionRefused
from proxy.ledger.reading import Stretch
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.pages import _PAGE
from proxy.ledger.sqlite.reader import SqliteReader
from tests.ledger.samples import START_MS, make_record, numbered, open_book, rows
from tests.ledger.sqlite.test_pruning import pruned
from tests.ledger.whole_book import seal_all, whole_book

# Not in the order of their seqs, as exchanges that run side by side end: seq 1 started last.
STARTS_MS = [START_MS + offset for offset in (9000, 0, 1000, 5000, 5000, 2000, 8000, 1)]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Booker]]:
    connection, book = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    book.book(
        Batch("w0", numbered(*(make_record(n, started_at_ms=ms) for n, ms in enumerate(STARTS_MS))))
    )
    yield connection, book
    connection.close()


def test_what_is_booked_meanwhile_is_not_in_it_and_is_not_held_up(
    writer: tuple[sqlite3.Connection, Booker], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    connection, book = writer
    found = []
    reader = SqliteReader(path)
    for page in reader.pages(Stretch(through=reader.head()), 3):
        book.book(Batch("w0", [(reader.head() + 1, make_record(reader.head()))]))
        # A reader in a transaction would keep the log from being put into the database and begun
        # anew.
        assert rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
        found += [row[1] for row in page.rows]
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]
    assert reader.head() == 11


def test_a_month_that_is_archived_meanwhile_is_told_and_what_was_read_before_is_not_asked_again(
    tmp_path: Path,
) -> None:
    """An export would end early, look whole, and have a sum that is too small."""
    path = whole_book(tmp_path)
    seal_all(path)
    reader = SqliteReader(path)
    stretch = Stretch(through=reader.head())
    every = [row for page in reader.pages(stretch) for row in page.rows]
    some = reader.pages(stretch, 8)
    next(some)
    last = pruned(path)
    with pytest.raises(QuestionRefused, match="2026-11 are archived, up to seq 24"):
        list(some)
    with pytest.raises(QuestionRefused, match="archived"):
        reader.label_names(stretch)
    behind = reader.pages(Stretch(after=last, through=reader.head()), 8)
    assert [row for page in behind for row in page.rows] == every[last:]


def test_a_month_that_is_archived_when_its_pages_were_read_stops_nothing(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    seal_all(path)
    reader = SqliteReader(path)
    stretch = Stretch(through=reader.head())
    every = [row for page in reader.pages(stretch) for row in page.rows]
    some = reader.pages(stretch, 24)
    first = next(some)
    assert pruned(path) == 24
    assert [*first.rows, *(row for page in some for row in page.rows)] == every


def test_the_head_of_a_pruned_book_is_its_checkpoint(
    writer: tuple[sqlite3.Connection, Booker], tmp_path: Path
) -> None:
    empty, _ = open_book(tmp_path / "empty.db")
    assert SqliteReader(tmp_path / "empty.db").head() == 0
    empty.execute("INSERT INTO checkpoints VALUES (40, x'00', 1, 'k', x'00')")
    assert SqliteReader(tmp_path / "empty.db").head() == 40
    empty.close()


def test_a_page_is_read_in_the_order_of_the_table(
    writer: tuple[sqlite3.Connection, Booker],
) -> None:
    """By the index on the time the whole range would be sorted before the first row."""
    plan = [row[3] for row in rows(writer[0], f"EXPLAIN QUERY PLAN {_PAGE}", 0, 9, 0, 9)]
    assert plan == ["SEARCH records USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]
