"""Refusals add up by key, team, reason, limit and quarter hour; older rows know less."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.ledger import Batch, Refusal, connect_reader
from proxy.ledger.reading import RefusalSum
from proxy.ledger.sqlite.refusals import add, sums
from proxy.ledger.sqlite.schema import MIGRATIONS, SCHEMA_VERSION, migrate
from proxy.ledger.sqlite.sums import BUCKET_MS
from tests.ledger.samples import open_book


def test_they_add_up_by_all_that_tells_them_apart(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    first = [
        Refusal(0, "alice", "rate_limit_exceeded", 3, "research", "key:alice/requests/minute"),
        Refusal(0, "alice", "rate_limit_exceeded", 4, "research", "team:research/requests/minute"),
        Refusal(0, "alice", "rate_limit_exceeded", 5, "lab", "key:alice/requests/minute"),
        Refusal(0, None, "invalid_api_key", 1),
    ]
    later = Refusal(BUCKET_MS, "alice", "rate_limit_exceeded", 9, "research", first[0].limit_id)
    for batch in (first, [*first, later]):
        book.book(Batch("w0", refusals=batch))
    key, team, limit = "alice", "research", "key:alice/requests/minute"
    code = "rate_limit_exceeded"
    assert sums(connection, SCHEMA_VERSION, None, None) == [
        RefusalSum(key, code, 15, 0, BUCKET_MS, team, limit),
        RefusalSum(key, code, 10, 0, 0, "lab", limit),
        RefusalSum(key, code, 8, 0, 0, team, "team:research/requests/minute"),
        RefusalSum(None, "invalid_api_key", 2, 0, 0),
    ]
    assert sums(connection, SCHEMA_VERSION, BUCKET_MS, None) == [
        RefusalSum(key, code, 9, BUCKET_MS, BUCKET_MS, team, limit)
    ]
    connection.close()


def test_rows_of_before_are_kept_and_read_before_and_after_the_migration(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    migrate(connection, "x", MIGRATIONS[:10])
    connection.execute("INSERT INTO refusals VALUES (0, 'alice', 'x', 7), (0, NULL, 'x', 2)")
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    old = [RefusalSum("alice", "x", 7, 0, 0), RefusalSum(None, "x", 2, 0, 0)]
    assert reader.refusals(None, None) == old
    migrate(connection, "x")
    assert reader.refusals(None, None) == old
    add(connection, [Refusal(0, "alice", "x", 1), Refusal(0, "alice", "x", 1, "research")])
    assert reader.refusals(None, None) == [
        RefusalSum("alice", "x", 8, 0, 0),
        RefusalSum(None, "x", 2, 0, 0),
        RefusalSum("alice", "x", 1, 0, 0, "research"),
    ]
    connection.close()
