"""A page is filled from the last quarter hour on, and no further back than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core.records.canonical import COLUMNS
from proxy.ledger.listing import Place, RowChoice, collected, top
from proxy.ledger.spans import BUCKET_MS

SEQ, STARTED = COLUMNS.index("seq"), COLUMNS.index("started_at_ms")


def row(seq: int, started_at_ms: int) -> tuple[Any, ...]:
    found: list[Any] = [None] * (len(COLUMNS) + 1)
    found[0], found[SEQ + 1], found[STARTED + 1] = "USD", seq, started_at_ms
    return tuple(found)


def test_names_that_are_given_and_times_that_any_database_takes() -> None:
    choice = RowChoice(through=1, team=None, key="k", from_ms=-5, to_ms=10**30)
    assert choice.names() == [("key_id", "k"), ("team", None)]
    assert choice.times() == (0, 2**53)
    assert RowChoice(through=1).names() == []
    assert top(RowChoice(through=1, to_ms=9), None) == (9, -1)
    assert top(RowChoice(through=1, to_ms=9), (5, 3)) == (5, 3)
    assert top(RowChoice(through=1, to_ms=9), (12, 3)) == (9, -1)


def test_quarter_hours_are_asked_until_the_page_is_full() -> None:
    asked: list[tuple[int, Place, int]] = []
    rows = {2: [row(9, 2 * BUCKET_MS + 5), row(8, 2 * BUCKET_MS + 1)], 1: [], 0: [row(1, 7)] * 5}

    def find(from_ms: int, place: Place, limit: int) -> Sequence[tuple[Any, ...]]:
        asked.append((from_ms, place, limit))
        return rows[from_ms // BUCKET_MS][:limit]

    upper = (2 * BUCKET_MS + 6, 3)
    quarters = [n * BUCKET_MS for n in (3, 2, 1, 0)]
    page = collected(RowChoice(through=9, from_ms=7), upper, 3, quarters, find)
    assert [each[SEQ] for each in page.rows] == [9, 8, 1]
    assert (page.before, page.currencies) == (1, ["USD"] * 3)
    assert asked == [
        (2 * BUCKET_MS, upper, 4),
        (BUCKET_MS, (2 * BUCKET_MS, -1), 2),
        (7, (BUCKET_MS, -1), 2),
    ]
    asked.clear()
    assert collected(RowChoice(through=9), upper, 1, quarters, find).before == 9
    assert len(asked) == 1
    assert collected(RowChoice(through=9), upper, 9, quarters[:3], find).before is None
