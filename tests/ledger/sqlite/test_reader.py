"""What is of SQLite in its reader: the indexes that it goes by, and a file that another process writes."""

from __future__ import annotations

import random
from pathlib import Path

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import Batch, connect_reader
from proxy.ledger.sqlite.read_only import reading
from tests.ledger.samples import START_MS, make_record, numbered, open_book, rows


def test_the_flagged_are_found_by_an_index_of_their_own(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(make_record(0, inconsistent=True))))
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT count(*) FROM records WHERE inconsistent = 1 AND kind = 'usage' AND records.started_at_ms >= 5"
    ).fetchall()
    connection.close()
    assert any("records_inconsistent" in str(step) for step in plan), plan


def test_the_size_counts_what_is_still_in_the_write_ahead_log(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    book.book(Batch("w0", price_versions=[("v1", b"one")]))
    files = [(tmp_path / name).stat().st_size for name in ("ledger.db", "ledger.db-wal")]
    assert files[1] > 0
    assert connect_reader("sqlite:ledger.db", tmp_path).status().bytes == sum(files)
    connection.close()


def test_reading_beside_a_writer_sees_what_is_committed_and_blocks_nobody(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    queries = connect_reader("sqlite:ledger.db", tmp_path)
    book.book(Batch("w0", numbered(make_record(0))))
    connection.execute("BEGIN IMMEDIATE")
    assert queries.status().records == 1
    connection.execute("ROLLBACK")
    book.book(Batch("w0", numbered(make_record(1))))
    assert queries.status().records == 2
    connection.close()
    assert queries.status().records == 2


def test_the_plan_of_a_range_uses_the_indexes(tmp_path: Path) -> None:
    """Ten million records are read by range, never whole."""
    rng = random.Random(1)
    writing, book = open_book(tmp_path / "ledger.db")
    booked = (make_record(n, started_at_ms=START_MS + rng.randrange(10**9)) for n in range(64))
    book.book(Batch("w0", numbered(*booked)))
    writing.close()
    with reading(tmp_path / "ledger.db") as connection:
        for query in (
            "SELECT count(*) FROM records WHERE started_at_ms >= 1 AND started_at_ms < 2",
            "SELECT sum(requests) FROM rollups WHERE bucket_ms >= 1 AND bucket_ms < 2",
            "SELECT seq FROM records WHERE adjusts = 'x'",
            f"SELECT {COLUMNS[2]} FROM records WHERE id = 'x'",
        ):
            plan = " ".join(row[3] for row in rows(connection, f"EXPLAIN QUERY PLAN {query}"))
            assert plan.startswith("SEARCH"), plan
