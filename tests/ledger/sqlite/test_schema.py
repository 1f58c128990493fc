"""The schema: append-only by its own triggers, versioned, and sure that the file is ours."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from proxy.core.managed import Audit, TenantChange
from proxy.core.records.canonical import COLUMNS, GENESIS, HASHED_V1, chained, seal
from proxy.ledger import Batch, LedgerError, connect_reader
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import begin_chain
from proxy.ledger.sqlite.schema import (
    APPEND_ONLY,
    MIGRATIONS,
    SCHEMA_VERSION,
    migrate,
    schema_version,
)
from proxy.ledger.sqlite.sums import FIRST_SUMS, GROUPS, MORE_SUMS, WIDE
from proxy.ledger.sqlite.tenants import change
from proxy.ledger.sqlite.verify import verify_chain
from proxy.ledger.sqlite.verify_prices import MODELS_SINCE
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book, rows
from tests.ledger.whole_book import verified


@pytest.fixture
def booked(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger of three records and a row in every other append-only table, on a connection without
    `recursive_triggers`."""
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(*map(make_record, range(3)))))
    connection.execute(
        "INSERT INTO grants VALUES (1, 'g1', 1, 'key:alice', 'tokens', 5, NULL, 'gift', 'ops')"
    )
    connection.execute("INSERT INTO checkpoints VALUES (3, x'00', 1, 'k', x'00')")
    connection.execute("INSERT INTO price_versions VALUES ('v1', 1, x'00')")
    begin_chain(connection, KEY, START_MS)
    connection.execute(
        "INSERT INTO months VALUES (3, 1, '2026-11', 1, 1, x'00', x'00', x'00', 'note')"
    )
    connection.execute(
        "INSERT INTO statements VALUES (1, '2026-11', 'UTC', NULL, 1, 2, 3, 1, 'ops', x'00', x'00', x'00', x'00')"
    )
    connection.execute(
        "INSERT INTO archives VALUES (3, 1, '2026-11', 1, 2, 3, x'00', x'00', 'f', 1, x'00', '{}', x'00', 'k', x'00')"
    )
    connection.execute(
        "INSERT INTO archived_sums (archive_seq, bucket_ms, key_id, upstream) VALUES (3, 0, 'k', 'u')"
    )
    deed = Audit(at_ms=1, actor="a", origin="o", action="x", kind="key", name="n")
    change(connection, KEY, TenantChange((), (deed,)))
    yield connection
    connection.close()


def snapshot(connection: sqlite3.Connection) -> list[list[tuple[object, ...]]]:
    return [rows(connection, f"SELECT * FROM {table} ORDER BY 1") for table in APPEND_ONLY]


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET seq = seq + 100", "DELETE FROM {}", "DELETE FROM {} WHERE seq > 0"]
)
def test_no_row_is_changed_or_deleted(
    booked: sqlite3.Connection, table: str, statement: str
) -> None:
    before = snapshot(booked)
    if table == "price_versions":
        statement = statement.replace("seq = seq + 100", "version = 'v2'").replace(
            "seq > 0", "version > ''"
        )
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        booked.execute(statement.format(table))
    assert snapshot(booked) == before


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_insert_or_replace_replaces_nothing(booked: sqlite3.Connection, table: str) -> None:
    """SQLite deletes the row that a REPLACE conflicts with without asking the DELETE trigger."""
    before = snapshot(booked)
    booked.execute("INSERT OR REPLACE INTO price_versions VALUES ('v1', 2, x'01')")
    columns = [row[1] for row in rows(booked, f"PRAGMA table_info({table})")]
    for kept in ("seq", "id"):
        if kept not in columns:
            continue
        fields = [
            "1000 + seq"
            if name == "seq" and kept != "seq"
            else f"'new-' || {name}"
            if name == "id" and kept != "id"
            else name
            for name in columns
        ]
        booked.execute(
            f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) SELECT {', '.join(fields)} FROM {table}"
        )
    assert snapshot(booked) == before


def test_an_upsert_changes_nothing_either(booked: sqlite3.Connection) -> None:
    before = snapshot(booked)
    names = ", ".join(COLUMNS)
    booked.execute(
        f"INSERT INTO records ({names}) SELECT {names} FROM records WHERE 1 ON CONFLICT (id) DO UPDATE SET output_tokens = 0"
    )
    assert snapshot(booked) == before


def test_the_schema_says_its_version(booked: sqlite3.Connection) -> None:
    assert schema_version(booked, "x") == SCHEMA_VERSION == 17


def test_a_database_of_a_newer_version_is_refused(booked: sqlite3.Connection) -> None:
    booked.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match=r"schema version 99.*up to 17.*newer version"):
        migrate(booked, "ledger.db")


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(LedgerError, match="not a ledger"):
        migrate(connection, "other.db")
    assert rows(connection, "SELECT name FROM sqlite_schema") == [("notes",)]
    connection.close()


def test_migrating_again_does_nothing(booked: sqlite3.Connection) -> None:
    before = snapshot(booked)
    migrate(booked, "x")
    assert snapshot(booked) == before


def test_a_later_migration_keeps_rows_and_hashes(booked: sqlite3.Connection) -> None:
    before = rows(booked, f"SELECT {', '.join(COLUMNS)} FROM records")
    migrate(booked, "x", (*MIGRATIONS, "ALTER TABLE records ADD COLUMN region TEXT;"))
    assert rows(booked, f"SELECT {', '.join(COLUMNS)} FROM records") == before
    assert rows(booked, "PRAGMA user_version") == [(18,)]
    Booker(booked, KEY, lambda: START_MS).book(Batch("w0", numbered(make_record(9))))
    assert rows(booked, "SELECT count(*), count(region) FROM records") == [(4, 0)]


def test_a_migration_that_fails_leaves_the_version_before_it(booked: sqlite3.Connection) -> None:
    before = rows(booked, "SELECT * FROM sqlite_schema")
    with pytest.raises(sqlite3.OperationalError):
        migrate(booked, "x", (*MIGRATIONS, "CREATE TABLE half (a); CREATE TABLE records (a);"))
    assert rows(booked, "SELECT * FROM sqlite_schema") == before
    assert rows(booked, "PRAGMA user_version") == [(17,)]


def test_a_released_migration_is_never_edited() -> None:
    """A database made by the old text would not be the one that the next migration expects: a
    change is a new migration."""
    digests = [hashlib.sha256(script.encode()).hexdigest()[:16] for script in MIGRATIONS]
    assert digests == [
        "f13da70f6cb6fbef", "6b31257ff48e29f8", "108924cef4dd1eed", "bb619b8ecfdd9e1e",
        "2825a72a155c0e6f", "4078a23a5bd9cc31", "e9edfaf552448331", "d85cddf1f2bda9c6",
        "a71a3bf621132ac9", "93e5d4aedd2cca72", "34899c057b2a9ffb", "8ea6468a7f4526a2", "76a8af084f16faaf",
        "1347fe5d19aec238", "78d5ea0e557a6552", "47443decfc53b9ff", "d8977eee56096f5f",
    ]  # fmt: skip


def hashed_as_of_old(stored: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """The same rows in a chain of version 1."""
    found, before = [], GENESIS
    for row in stored:
        values = [1 if name == "hash_version" else row[name] for name in HASHED_V1]
        now = chained(before, values)
        found.append((*values, before, now))
        before = now
    return found


def fill_as_of_old(connection: sqlite3.Connection) -> None:
    """Three records as a version before the wide roll-ups booked them, with the hashes of then."""
    earlier = (*HASHED_V1, "prev_hash", "hash")
    names = ", ".join(earlier)
    summed = ", ".join(("bucket_ms", *GROUPS, *(name for name, _ in FIRST_SUMS)))
    with sqlite3.connect(":memory:", isolation_level=None) as other:
        migrate(other, "y")
        Booker(other, KEY, lambda: START_MS).book(
            Batch("w0", numbered(*map(make_record, range(3))))
        )
        for table, columns in (
            ("records", names),
            ("rollups", summed),
            ("heads", "*"),
            ("journal_positions", "*"),
        ):
            stored = rows(other, f"SELECT {columns} FROM {table}")
            if table == "records":
                stored = hashed_as_of_old([dict(zip(earlier, row, strict=True)) for row in stored])
                last = stored[-1][-1]
            elif table == "heads":
                stored = [
                    (seq, last, at, key, seal(KEY, seq, at, last)) for seq, _, at, key, _ in stored
                ]
            into = "" if columns == "*" else f"({columns})"
            connection.executemany(
                f"INSERT INTO {table} {into} VALUES ({', '.join('?' * len(stored[0]))})", stored
            )
    other.close()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_ledger_of_an_earlier_schema_is_brought_to_this_one(tmp_path: Path, version: int) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    migrate(connection, "x", MIGRATIONS[:version])
    fill_as_of_old(connection)
    before = rows(connection, f"SELECT {', '.join(HASHED_V1)}, hash FROM records")
    queries = connect_reader("sqlite:ledger.db", tmp_path)
    assert queries.price_terms("v1") is None, (
        "read before any process of this version has opened it"
    )
    assert queries.served_models() == []
    entry = queries.record(make_record(1).id)
    assert entry is not None
    assert (entry.hash_version, entry.record.searches) == (1, None)
    used = queries.usage(["key"], None, None, UTC)
    assert [row["requests"] for row in used] == [3]
    migrate(connection, "x")
    assert rows(connection, f"SELECT {', '.join(HASHED_V1)}, hash FROM records") == before
    assert queries.usage(["key"], None, None, UTC) == used
    assert queries.served_models() == [("modelmax", "deepseek-v3.2", "deepseek-v3.2")]
    book = Booker(connection, KEY, lambda: START_MS)
    book.book(Batch("w0", numbered(make_record(3), after=3), price_versions=[("v1", b"terms")]))
    assert queries.price_terms("v1") == b"terms"
    connection.close()
    assert verify_chain(tmp_path / "ledger.db", KEY).problems == ()


def test_what_records_had_before_roll_ups_did_is_summed_once(tmp_path: Path) -> None:
    """Version 7 had the columns in its records alone; most of these lie in wide spans already."""
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    migrate(connection, "x")
    book = Booker(connection, KEY, lambda: START_MS + 90 * 86_400_000)
    book.book(
        Batch(
            "w0",
            numbered(
                *(
                    make_record(
                        n,
                        started_at_ms=START_MS + n * 9 * 86_400_000,
                        cache_write_long_tokens=10**n,
                        searches=None if n == 2 else n,
                    )
                    for n in range(4)
                )
            ),
        )
    )
    queries = connect_reader("sqlite:ledger.db", tmp_path)
    now = queries.usage(["day"], None, None, UTC), queries.usage([], None, None, UTC)
    assert [row["searches"] for row in now[0]] == [0, 1, None, 3]
    assert [row["cache_write_long_tokens"] for row in now[1]] == [1111]
    for table in ("rollups", *(table for table, _ in WIDE)):
        for name, _ in MORE_SUMS:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    connection.execute("PRAGMA user_version = 7")
    [before] = queries.usage([], None, None, UTC)
    assert (before["searches"], before["requests"]) == (None, 4), "read before it is brought here"
    migrate(connection, "x", MIGRATIONS[:8])  # it alone
    assert (queries.usage(["day"], None, None, UTC), queries.usage([], None, None, UTC)) == now
    connection.close()


def test_buckets_are_quarter_hours() -> None:
    assert BUCKET_MS == 900_000


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_ledger_of_each_schema_verifies_before_and_after_it_is_brought_to_this_one(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, "x", MIGRATIONS[:version])
    fill_as_of_old(connection)
    if version >= MODELS_SINCE:
        model = "deepseek-v3.2"
        connection.execute("INSERT INTO served_models VALUES ('modelmax', ?, ?)", (model, model))
    (tmp_path / "ledger.key").write_text(KEY.hex())
    before = verified(path)
    assert before.findings == []
    assert len(before.notes) == sum(version < since for since in (2, 8, 8, 9, 12, 13, 14))
    migrate(connection, "x")
    begin_chain(connection, KEY, START_MS)
    connection.close()
    after = verified(path)
    assert (after.findings, after.notes, after.through) == ([], [], 3)
