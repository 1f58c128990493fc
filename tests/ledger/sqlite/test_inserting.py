"""Rows are stored whole, whatever columns their batch leaves out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.records.canonical import COLUMNS, GENESIS, Value, chained, row_values
from proxy.core.usage import UsageRecord
from proxy.ledger.sqlite.inserting import SHAPES_MAX, Inserter
from tests.ledger.samples import START_MS, make_id, make_record, open_book, records, rows
from tests.support.effort import examples

STORED = f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection, _ = open_book(tmp_path / "ledger.db")
    yield connection
    connection.close()


def row(record: UsageRecord, seq: int = 1) -> list[Value]:
    values = row_values(record, seq, START_MS)
    return [*values, GENESIS, chained(GENESIS, values)]


def test_a_column_that_no_row_knows_is_left_out(connection: sqlite3.Connection) -> None:
    inserter, statements = Inserter(connection), list[str]()
    connection.set_trace_callback(statements.append)
    given = [row(make_record(0, team=None), 1), row(make_record(1, team="a"), 2)]
    expected = [tuple(values) for values in given]
    assert inserter.insert(given) == 2
    assert rows(connection, STORED) == expected, "with nulls, and the hashes as blobs"
    inserts = [text for text in statements if text.startswith("INSERT INTO records")]
    assert all("team" in text and "fx_rate" not in text for text in inserts)


def test_a_known_row_is_not_counted(connection: sqlite3.Connection) -> None:
    inserter = Inserter(connection)
    assert inserter.insert([row(make_record(0), 1)]) == 1
    assert inserter.insert([row(make_record(0), 2), row(make_record(1), 3)]) == 1


def test_the_statements_are_few_however_many_shapes_come(connection: sqlite3.Connection) -> None:
    inserter = Inserter(connection)
    names = ("team", "end_user", "model_served", "finish_reason", "service_tier")
    for n in range(2 ** len(names)):
        changes = {name: "x" if n >> bit & 1 else None for bit, name in enumerate(names)}
        assert inserter.insert([row(make_record(n, **changes), n + 1)]) == 1
        assert len(inserter._shapes) <= SHAPES_MAX
    assert rows(connection, "SELECT count(DISTINCT hash) FROM records") == [(2 ** len(names),)]


@given(st.lists(records(0), min_size=1, max_size=6))
@settings(max_examples=examples(100))
def test_what_is_stored_is_what_was_given(given: list[UsageRecord]) -> None:
    connection, _ = open_book(Path(":memory:"))
    named = [msgspec.structs.replace(record, id=make_id(n)) for n, record in enumerate(given)]
    values = [row(record, n + 1) for n, record in enumerate(named)]
    expected = [tuple(one) for one in values]
    assert Inserter(connection).insert(values) == len(values)
    assert rows(connection, STORED) == expected
    connection.close()
