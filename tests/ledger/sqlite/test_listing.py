"""Of a long book in SQLite, only the quarter hours with rows of a key are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger.listing import RowChoice
from proxy.ledger.spans import Reach
from proxy.ledger.sqlite.listing import listed
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.spans import reach
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.samples import START_MS, make_record

HOUR_MS = 3_600_000


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "as of an early version"])
def test_a_rare_key_is_found_without_reading_what_others_used(tmp_path: Path, folded: bool) -> None:
    with opened_sqlite(tmp_path) as book:
        for n in range(300):
            key = "rare" if n % 100 == 50 else f"k{n % 4}"
            at_ms = START_MS + n * HOUR_MS
            book.book(make_record(n, started_at_ms=at_ms, key_id=key), now_ms=at_ms)
        with reading(tmp_path / "ledger.db") as connection:
            asked: list[str] = []
            reached = reach(connection, 3)
            assert reached.folded_until_ms > START_MS + 200 * HOUR_MS
            connection.set_trace_callback(asked.append)
            reached = reached if folded else Reach(reached.first_ms, 0)
            page = listed(connection, reached, RowChoice(through=300, key="rare"), None, 50)
    assert [row[7] for row in page.rows] == [START_MS + n * HOUR_MS for n in (250, 150, 50)]
    assert sum("LIMIT 51" in text or "FROM records\nWHERE" in text for text in asked) == 3
