"""Refusals of before a ledger in SQLite had teams and limits."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.ledger import Refusal, connect_reader
from proxy.ledger.reading import RefusalSum
from proxy.ledger.sqlite.refusals import add
from proxy.ledger.sqlite.schema import MIGRATIONS, migrate


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
