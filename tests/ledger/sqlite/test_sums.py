"""How sums are added to: nulls, and no further than 63 bits."""

from __future__ import annotations

import sqlite3

import pytest

from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.adding import is_beyond
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
        (MOST, -MOST, 0),
        (MOST, 1, "refused"),
        (-MOST, -2, "refused"),
        (-MOST, -1000, "refused"),
    ],
)
def test_an_upsert_adds_within_63_bits(
    before: int | None, more: int | None, after: int | str | None
) -> None:
    """A float, which SQLite makes of more, is refused by a STRICT table: `adding` goes on then."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER) STRICT")
    upsert = f"INSERT INTO t VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET {added('n')}"
    connection.execute(upsert, (before,))
    if after == "refused":
        with pytest.raises(sqlite3.IntegrityError) as raised:
            connection.execute(upsert, (more,))
        assert is_beyond(raised.value)
        after = before
    else:
        connection.execute(upsert, (more,))
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
