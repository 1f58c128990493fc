"""The queries for what a late price moves: their columns, and the index of SQLite that finds it."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.late_prices import BookedRows, Columns, counted, moved
from proxy.ledger.sqlite.sums import GROUPS, SUMS
from tests.ledger.samples import open_book, rows


def test_what_a_price_moves_is_found_by_an_index(tmp_path: Path) -> None:
    """A book of millions is not read for it."""
    connection, _ = open_book(tmp_path / "ledger.db")
    query = moved(Columns(["1"], GROUPS, SUMS), "{row}.seq > ?")
    plan = " ".join(str(row[3]) for row in rows(connection, f"EXPLAIN QUERY PLAN {query}", 5))
    assert "SEARCH p USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "SCAN e" not in plan and "SCAN x" not in plan and "SCAN p" not in plan
    connection.close()


def test_both_parts_of_a_query_have_the_same_columns() -> None:
    """A late price moves a sum to its own currency, so this one column is named anew."""
    asked = Columns(["1 AS x"], ["team", "currency"], [("requests", "kind = 'usage'")])
    booked, late = counted(asked, "{row}.seq > 3").split(" UNION ALL SELECT 1 AS x", 1)
    columns = "1 AS x, team, currency, kind = 'usage' AS requests"
    assert booked == f"SELECT {columns} FROM records WHERE records.seq > 3"
    assert late.startswith(", team, line AS currency, side * (kind = 'usage') AS requests FROM (")
    assert "p.seq > 3" in late
    halved = Columns([], [], [("n", "a")], lambda name, expression: f"{expression} / 2 AS {name}_h")
    assert counted(halved, "1").startswith("SELECT a / 2 AS n_h FROM records WHERE 1 UNION ALL ")


def test_the_records_themselves_may_be_read_from_another_table() -> None:
    """Only a question about a `seq` needs the book of all writers for them."""
    asked, book = Columns([], ["team"], []), BookedRows(table="book")
    assert counted(asked, "true", book).startswith("SELECT team FROM book AS records WHERE true")
    plain = counted(asked, "true", book, "records")
    assert plain.startswith("SELECT team FROM records WHERE true") and "FROM book AS p" in plain
