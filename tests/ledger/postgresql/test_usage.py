"""Usage in PostgreSQL: each table is read once for all days, and by its indexes."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.ledger.grouping import Ask
from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.usage import grouped
from tests.ledger.postgresql.books import books
from tests.ledger.samples import START_MS, make_record

pytestmark = pytest.mark.whole  # a server of its own

DAY_MS = 86_400_000


class Counting:
    """A connection that counts what it is asked, beside which months are archived."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.asked: list[str] = []

    def execute(self, query: Any, values: Any = None) -> Any:
        text = query if isinstance(query, str) else query.decode()
        if "FROM archives" not in text:
            self.asked.append(text)
        return self._connection.execute(query, values)


@pytest.mark.parametrize("by", [("day",), ("month", "team"), ("day", "key")])
def test_days_and_months_are_one_query_over_the_spans_within_them(by: tuple[str, ...]) -> None:
    with books() as many:
        many.now_ms = START_MS + 60 * DAY_MS
        starts = [START_MS + n * DAY_MS for n in range(60)]
        many.book(*(make_record(n, started_at_ms=at_ms) for n, at_ms in enumerate(starts)))
        with opened(many.url, writes=False) as connection:
            counting: Any = Counting(connection)
            ask = Ask(by, None, START_MS + 50 * DAY_MS, ZoneInfo("Asia/Shanghai"), ("requests",))
            rows = grouped(counting, ask)
        assert sum(int(row["requests"] or 0) for row in rows) == 50
        assert len(counting.asked) == 2, "how far the roll-ups reach, and the sums"
        query, (one, other) = counting.asked[-1], ("rollups", "teams")
        if "key" not in by:
            one, other = other, one
        assert query.count(f"FROM {one}_4h") == 1 and query.count(f"FROM {one}_daily") <= 1
        assert f"FROM {other}_" not in query


@pytest.mark.parametrize(
    ("by", "key", "read"),
    [
        (["team"], None, "teams_monthly"),
        ([], None, "teams_monthly"),
        (["key"], None, "rollups_monthly"),
        (["model"], "key-1", "rollups_monthly"),
    ],
)
def test_only_who_asks_for_keys_reads_the_sums_of_each_key(
    by: list[str], key: str | None, read: str
) -> None:
    with books() as many:
        many.now_ms = START_MS + 60 * DAY_MS
        many.book(*(make_record(n, started_at_ms=START_MS + n * DAY_MS) for n in range(60)))
        with opened(many.url, writes=False) as connection:
            counting: Any = Counting(connection)
            grouped(counting, Ask(by, None, None, UTC, ("requests",), key=key))
        assert f"FROM {read}" in counting.asked[-1]
        assert counting.asked[-1].count("_monthly") == 1


def test_hours_come_from_the_quarter_hours_that_have_records() -> None:
    with books() as many:
        many.book(*(make_record(n, started_at_ms=START_MS + n * DAY_MS) for n in range(3)))
        with opened(many.url, writes=False) as connection:
            counting: Any = Counting(connection)
            ask = Ask(("hour",), START_MS, START_MS + 2 * DAY_MS, UTC, ("requests",))
            rows = grouped(counting, ask)
        assert [row["requests"] for row in rows] == [1, 1]
        assert len(counting.asked) == 3
