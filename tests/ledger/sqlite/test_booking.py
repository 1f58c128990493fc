"""The booking transaction: once each, all or nothing, in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.records.canonical import GENESIS, HASHED_V2, chained, seal
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import BATCH_MAX, Batch, Booked, LedgerUnavailable, Refusal
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.sums import BUCKET_MS
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


def put(book: Booker, *records: UsageRecord, after: int = 0) -> Booked:
    return book.book(Batch("w0", numbered(*records, after=after)))


def test_rows_get_their_place_in_the_chain_in_the_order_of_the_batches(
    connection: sqlite3.Connection, book: Booker
) -> None:
    put(book, make_record(0), make_record(1))
    put(book, make_record(2), after=2)
    names = ", ".join(HASHED_V2)
    prev_hash = GENESIS
    for n, row in enumerate(
        rows(connection, f"SELECT {names}, prev_hash, hash FROM records ORDER BY seq")
    ):
        assert (row[0], row[1]) == (make_id(n), n + 1)
        assert row[-2] == prev_hash
        prev_hash = chained(prev_hash, row[:-2])
        assert row[-1] == prev_hash
    heads = rows(connection, "SELECT seq, hash, booked_at_ms, seal FROM heads ORDER BY seq")
    assert [head[0] for head in heads] == [2, 3]
    assert heads[-1] == (3, prev_hash, START_MS + 5000, seal(KEY, 3, START_MS + 5000, prev_hash))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 63, 64])
def test_a_batch_booked_again_changes_nothing(
    connection: sqlite3.Connection, book: Booker, size: int
) -> None:
    batch = [
        make_record(n, key_id=f"k{n % 3}", started_at_ms=START_MS + n * 100_000)
        for n in range(size)
    ]
    assert put(book, *batch) == Booked(inserted=size, known=0, adjustments=0)
    before = everything(connection)
    assert put(book, *batch) == Booked(inserted=0, known=size, adjustments=0)
    assert everything(connection) == before


def test_a_batch_partly_known_counts_only_what_is_new(
    connection: sqlite3.Connection, book: Booker
) -> None:
    put(book, make_record(0), make_record(1))
    assert put(book, make_record(1), make_record(2), make_record(2)) == Booked(
        inserted=1, known=2, adjustments=0
    )
    assert rows(connection, "SELECT sum(requests), sum(input_tokens) FROM rollups") == [(3, 300)]
    assert rows(connection, "SELECT count(*), sum(input_tokens) FROM records") == [(3, 300)]


def test_a_different_record_under_a_known_id_becomes_an_adjustment_once(
    connection: sqlite3.Connection, book: Booker
) -> None:
    interrupted = make_record(
        0, output_tokens=512, source=Source.ESTIMATED, outcome=Outcome.INTERRUPTED
    )
    late = make_record(0, output_tokens=300)
    put(book, interrupted)
    assert put(book, late, after=1) == Booked(inserted=0, known=0, adjustments=1)
    before = everything(connection)
    assert put(book, interrupted, late, late, after=2) == Booked(inserted=0, known=3, adjustments=0)
    assert {**everything(connection), "journal_positions": None} == {
        **before,
        "journal_positions": None,
    }
    kinds = "SELECT kind, adjusts, reason, input_tokens, output_tokens FROM records ORDER BY seq"
    assert rows(connection, kinds) == [
        ("usage", None, None, 100, 512),
        ("adjustment", make_id(0), "late_close", 0, -212),
    ]
    assert rows(
        connection, "SELECT requests, input_tokens, output_tokens, reported_requests FROM rollups"
    ) == [(1, 100, 300, 0)]


def test_what_knows_less_than_the_book_or_its_corrections_changes_nothing(
    connection: sqlite3.Connection, book: Booker
) -> None:
    guess = make_record(0, output_tokens=512, source=Source.ESTIMATED, origin="recovery")
    put(book, guess, make_record(0, output_tokens=300))
    cut = make_record(0, output_tokens=150, source=Source.PARTIAL)
    assert put(book, cut, guess, after=2) == Booked(inserted=0, known=2, adjustments=0)
    assert rows(connection, "SELECT output_tokens FROM rollups") == [(300,)]


def test_what_is_booked_is_found_by_its_id(connection: sqlite3.Connection, book: Booker) -> None:
    batch = [make_record(n) for n in range(20)]
    put(book, *batch)
    assert book.stored([make_id(n) for n in range(15, 40)]) == {r.id: r for r in batch[15:]}
    assert book.stored([]) == {}


@pytest.mark.parametrize("together", [True, False])
def test_whatever_order_versions_come_in_the_sum_is_the_last_new_one(
    connection: sqlite3.Connection, book: Booker, together: bool
) -> None:
    versions = [make_record(0, output_tokens=tokens) for tokens in (512, 300, 300, 700)]
    if together:
        assert put(book, *versions) == Booked(inserted=1, known=1, adjustments=2)
    else:
        for n, version in enumerate(versions):
            put(book, version, after=n)
    put(book, *versions)
    assert rows(connection, "SELECT count(*), sum(output_tokens) FROM records") == [(3, 700)]
    assert rows(connection, "SELECT output_tokens FROM rollups") == [(700,)]


def test_rollups_keep_quarter_hours_and_names_apart(
    connection: sqlite3.Connection, book: Booker
) -> None:
    edge_ms = START_MS // BUCKET_MS * BUCKET_MS + BUCKET_MS
    batch = [
        make_record(0, started_at_ms=edge_ms - 1),
        make_record(1, started_at_ms=edge_ms),
        make_record(2, started_at_ms=edge_ms, team=None),
        make_record(3, started_at_ms=edge_ms, team=None, model_requested=None),
        make_record(4, started_at_ms=edge_ms, team="", model_requested=None),
        make_record(5, started_at_ms=edge_ms, team=None, model_requested=None),
    ]
    put(book, *batch)
    found = rows(
        connection,
        "SELECT bucket_ms, team, model_requested, requests FROM rollups ORDER BY bucket_ms, team IS NULL, team, model_requested IS NULL",
    )
    assert found == [
        (edge_ms - BUCKET_MS, "research", "deepseek-v3.2", 1),
        (edge_ms, "", None, 1),
        (edge_ms, "research", "deepseek-v3.2", 1),
        (edge_ms, None, "deepseek-v3.2", 1),
        (edge_ms, None, None, 2),
    ]


def test_what_nobody_knows_stays_unknown_in_a_rollup(
    connection: sqlite3.Connection, book: Booker
) -> None:
    query = "SELECT cached_tokens, reasoning_tokens, cost_nano FROM rollups"
    put(book, make_record(0, cached_tokens=None, reasoning_tokens=0))
    assert rows(connection, query) == [(None, 0, None)]
    put(book, make_record(1, cached_tokens=None, reasoning_tokens=None), after=1)
    assert rows(connection, query) == [(None, 0, None)]
    put(book, make_record(2, cached_tokens=7, reasoning_tokens=1), after=2)
    assert rows(connection, query) == [(7, 1, None)]


def test_a_sum_beyond_63_bits_stays_at_the_bound_and_booking_goes_on(
    connection: sqlite3.Connection, book: Booker
) -> None:
    for n in range(3):
        put(book, *(make_record(n * 64 + i, output_tokens=2**56) for i in range(64)), after=n * 64)
    assert rows(connection, "SELECT requests, output_tokens FROM rollups") == [(192, 2**63 - 1)]


def test_the_position_is_where_the_last_batch_ended(book: Booker) -> None:
    assert book.position("w0") == 0
    put(book, make_record(0), make_record(1), after=40)
    book.book(Batch("w1", numbered(make_record(2)), position=99))
    assert (book.position("w0"), book.position("w1")) == (42, 99)
    book.book(Batch("w0", position=0))
    assert book.position("w0") == 0


def test_salts_are_kept_and_never_replaced(book: Booker) -> None:
    book.book(Batch("w0", salts=[("look-up", b"salt")]))
    book.book(Batch("w0", salts=[("look-up", b"another"), ("second", b"pepper")]))
    assert book.salts() == {"look-up": b"salt", "second": b"pepper"}


def test_refusals_of_a_batch_are_booked_with_it(
    connection: sqlite3.Connection, book: Booker
) -> None:
    for _ in range(2):
        book.book(Batch("w0", refusals=[Refusal(0, "alice", "x", 3, "research", "soft-day")]))
    assert rows(connection, "SELECT count, team, limit_id FROM refusals") == [
        (6, "research", "soft-day")
    ]


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


def test_an_absurd_count_is_booked_as_unknown_and_flagged(
    connection: sqlite3.Connection, book: Booker
) -> None:
    absurd = make_record(0, input_tokens=10**30)
    assert put(book, absurd) == Booked(inserted=1, known=0, adjustments=0)
    assert put(book, absurd) == Booked(inserted=0, known=1, adjustments=0)
    assert rows(connection, "SELECT input_tokens, inconsistent FROM records") == [(None, 1)]


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
