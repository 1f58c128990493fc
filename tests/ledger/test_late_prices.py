"""What a late price moves is found by an index of SQLite."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.late_prices import moved
from proxy.ledger.sqlite.sums import GROUPS, SUMS
from tests.ledger.samples import open_book, rows


def test_what_a_price_moves_is_found_by_an_index(tmp_path: Path) -> None:
    """A book of millions is not read for it."""
    connection, _ = open_book(tmp_path / "ledger.db")
    query = moved(["1"], GROUPS, SUMS, lambda name, expression: expression, "{row}.seq > ?")
    plan = " ".join(str(row[3]) for row in rows(connection, f"EXPLAIN QUERY PLAN {query}", 5))
    assert "SEARCH p USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "SCAN e" not in plan and "SCAN x" not in plan and "SCAN p" not in plan
    connection.close()
