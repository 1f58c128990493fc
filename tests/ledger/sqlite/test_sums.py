"""How sums are added to: nulls, and the bound of 63 bits."""

from __future__ import annotations

import sqlite3

import pytest

from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.sums import SUMS, WIDE, added, measures
from tests.ledger.samples import START_MS

MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("before", "more", "after"),
    [
        (1, 2, 3),
        (None, 5, 5),
        (5, None, 5),
        (None, None, None),
        (MOST, 1, MOST),
        (-MOST, -1, -MOST),
        (MOST, -MOST, 0),
    ],
)
def test_an_upsert_adds_within_63_bits(
    before: int | None, more: int | None, after: int | None
) -> None:
    """A float, which SQLite makes of more, would be refused by a STRICT table for ever."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER) STRICT")
    for value in (before, more):
        connection.execute(
            f"INSERT INTO t VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET {added('n')}", (value,)
        )
    assert connection.execute("SELECT n FROM t").fetchone() == (after,)
    connection.close()


def test_each_sum_is_measured_under_its_name() -> None:
    assert measures("new_").count(" AS new_") == len(SUMS)


def test_a_span_starts_at_or_before_its_moment() -> None:
    connection = sqlite3.connect(":memory:")
    starts = [
        connection.execute(f"SELECT {span.format(at=START_MS)}").fetchone()[0] for _, span in WIDE
    ]
    assert starts == sorted(starts, reverse=True) and starts[0] <= START_MS
    assert all(start % BUCKET_MS == 0 for start in starts)
    connection.close()
