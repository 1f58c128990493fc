"""What a start reads of recent records goes by an index, however long the book is."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.recent import recent, used_by_value
from tests.ledger.samples import open_book, rows

NOW_MS = 1_800_000_000_000


def test_recent_records_are_found_by_the_index_of_their_start(tmp_path: Path) -> None:
    open_book(tmp_path / "ledger.db")[0].close()
    asked: list[str] = []
    with reading(tmp_path / "ledger.db") as connection:
        connection.set_trace_callback(asked.append)
        assert recent(connection, NOW_MS - 3_600_000, NOW_MS) == []
        assert (
            used_by_value(connection, None, NOW_MS) == used_by_value(connection, "x", NOW_MS) == []
        )
        connection.set_trace_callback(None)
        asked = [each for each in asked if "started_at_ms" in each and "archives" not in each]
        plans = [row[3] for each in asked for row in rows(connection, f"EXPLAIN QUERY PLAN {each}")]
    assert len(asked) == 4
    assert sum("INDEX records_started_at" in step for step in plans) == 4, plans
    assert not any(step.startswith("SCAN records") for step in plans), plans
