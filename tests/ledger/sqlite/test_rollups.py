"""Roll-ups of hours, days and months: at each commit they say what the records before
`folded_until_ms` say, whatever is booked when."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ledger import Batch
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.rollups import GRACE_MS
from proxy.ledger.sqlite.schema import MIGRATIONS, migrate
from proxy.ledger.sqlite.sums import GROUPS, MONEY, MORE_SUMS, SUMS, WIDE
from proxy.ledger.sqlite.verify_sums import wide_step
from tests.ledger.samples import KEY, START_MS, make_record, numbered, records, rows
from tests.support.effort import examples

DAY_MS = 86_400_000
NEXT_MONTH_MS = 1_793_491_200_000 + 30 * DAY_MS  # 2026-12-01T00:00Z
NAMES = ", ".join(GROUPS)


def by_span(connection: sqlite3.Connection, table: str) -> set[tuple[Any, ...]]:
    """What a wide table says, in one number each."""
    sums = [f"{name}_high * 4294967296 + {name}_low" if name in MONEY else name for name, _ in SUMS]
    return set(
        rows(
            connection,
            f"SELECT bucket_ms, {NAMES}, {', '.join(sums)} FROM {table} JOIN rollup_groups AS g ON g.id = group_id",
        )
    )


def by_hand(connection: sqlite3.Connection, span: str) -> set[tuple[Any, ...]]:
    """What the records say."""
    sums = ", ".join(f"sum({expression})" for _, expression in SUMS)
    query = f"SELECT {span.format(at='started_at_ms')}, {NAMES}, {sums} FROM records WHERE started_at_ms - started_at_ms % {BUCKET_MS} < (SELECT folded_until_ms FROM fold) GROUP BY 1, {NAMES}"
    return set(rows(connection, query))


def agree(connection: sqlite3.Connection) -> None:
    for table, span in WIDE:
        assert by_span(connection, table) == by_hand(connection, span), table


def booked_at(connection: sqlite3.Connection, now_ms: int, *batch: Any, after: int = 0) -> None:
    Booker(connection, KEY, lambda: now_ms).book(Batch("w0", numbered(*batch, after=after)))


@pytest.fixture
def connection() -> Any:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "x")
    yield connection
    connection.close()


@settings(max_examples=examples(25))
@given(st.data())
def test_whatever_is_booked_when(data: st.DataObject) -> None:
    """The clock runs on, stands or is set back; records come late, early or twice; some ledgers
    come from a version without these tables."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        book_and_compare(connection, data)


def book_and_compare(connection: sqlite3.Connection, data: st.DataObject) -> None:
    old = data.draw(st.booleans())
    migrate(connection, "x")
    n = 0
    for _ in range(data.draw(st.integers(1, 4))):
        now_ms = START_MS + data.draw(st.integers(0, 40 * DAY_MS))
        size = data.draw(st.integers(1, 5))
        batch = [data.draw(records(i)) for i in range(n, n + size)]
        batch = [make_record(i, **{f: getattr(r, f) for f in r.__struct_fields__ if f not in ("id", "started_at_ms")}, started_at_ms=START_MS + data.draw(st.integers(0, 35 * DAY_MS)))
                 for i, r in enumerate(batch, start=n)]  # fmt: skip
        n += size
        for _ in range(2):  # the second time is a replay
            booked_at(connection, now_ms, *batch, after=n)
        agree(connection)
    if old:
        for table in ("rollup_groups", "fold", *(table for table, _ in WIDE)):
            connection.execute(f"DROP TABLE {table}")
        for name, _ in MORE_SUMS:
            connection.execute(f"ALTER TABLE rollups DROP COLUMN {name}")
        connection.executescript(MIGRATIONS[2] + MIGRATIONS[7])
        agree(connection)


def test_quarter_hours_that_have_passed_are_folded_and_what_is_newer_is_not(
    connection: sqlite3.Connection,
) -> None:
    """No further than the clock says, and no further than the records have come. Each step books a
    record of the first quarter hour and a newer one."""
    end_ms = (START_MS // BUCKET_MS + 1) * BUCKET_MS
    steps = [  # now, the newer record's start, until when is folded, how many
        (end_ms + GRACE_MS - 1, end_ms - 1, end_ms - BUCKET_MS, 0),
        (end_ms + GRACE_MS + 9, end_ms + GRACE_MS - 1, end_ms - BUCKET_MS, 0),
        (end_ms + GRACE_MS - 1, end_ms + GRACE_MS, end_ms - BUCKET_MS, 0),
        (end_ms + GRACE_MS, end_ms + GRACE_MS, end_ms, 5),
        (0, end_ms - 1, end_ms, 7),
    ]
    for n, (now_ms, newer_ms, until_ms, folded) in enumerate(steps):
        booked_at(
            connection,
            now_ms,
            make_record(2 * n),
            make_record(2 * n + 1, started_at_ms=newer_ms),
            after=2 * n,
        )
        assert rows(connection, "SELECT folded_until_ms FROM fold") == [(until_ms,)]
        for table, _ in WIDE:
            assert rows(connection, f"SELECT ifnull(sum(requests), 0) FROM {table}") == [
                (folded,)
            ], (n, table)
        agree(connection)


def test_months_are_those_of_the_calendar_in_utc(connection: sqlite3.Connection) -> None:
    starts = [
        NEXT_MONTH_MS - 1,
        NEXT_MONTH_MS,
        NEXT_MONTH_MS + 31 * DAY_MS - 1,
        NEXT_MONTH_MS + 31 * DAY_MS,
        NEXT_MONTH_MS + 90 * DAY_MS,
    ]
    booked_at(
        connection,
        NEXT_MONTH_MS + 90 * DAY_MS,
        *(make_record(n, started_at_ms=at_ms) for n, at_ms in enumerate(starts)),
    )
    found = rows(connection, "SELECT bucket_ms, requests FROM rollups_monthly ORDER BY 1")
    assert found == [
        (NEXT_MONTH_MS - 30 * DAY_MS, 1),
        (NEXT_MONTH_MS, 2),
        (NEXT_MONTH_MS + 31 * DAY_MS, 1),
    ]


def test_a_start_that_no_calendar_knows_stops_no_booking(connection: sqlite3.Connection) -> None:
    booked_at(
        connection,
        2**62,
        make_record(0, started_at_ms=2**61),
        make_record(1, started_at_ms=-5),
        make_record(2, started_at_ms=2**61 + DAY_MS),
    )
    assert [rows(connection, f"SELECT sum(requests) FROM {table}") for table, _ in WIDE] == [
        [(2,)]
    ] * 3


def test_sums_beyond_63_bits_are_folded_whole_and_booking_goes_on(
    connection: sqlite3.Connection,
) -> None:
    for n in range(4):
        batch = [
            make_record(
                n * 64 + i,
                started_at_ms=START_MS + n * 900_000,
                output_tokens=2**56,
                charge_nano=2**56,
                currency="VND",
            )
            for i in range(64)
        ]
        booked_at(connection, START_MS, *batch, after=n * 64)
    booked_at(
        connection,
        START_MS + DAY_MS,
        make_record(999, started_at_ms=START_MS + DAY_MS, currency="VND"),
        after=256,
    )
    booked_at(
        connection,
        START_MS + DAY_MS,
        make_record(1000, output_tokens=2**56, currency="VND"),
        after=257,
    )
    assert wide_step(connection, None, quickly=False).findings == []
    for table, _ in WIDE:
        [(requests, tokens, high)] = rows(
            connection,
            f"SELECT sum(requests), max(output_tokens), sum(charge_nano_high) FROM {table}",
        )
        [(units,)] = rows(
            connection, "SELECT output_tokens FROM carried_sums WHERE span = ?", table
        )
        assert (requests, high * 2**32) == (257, 256 * 2**56)
        assert tokens + units * 2**62 == 256 * 2**56 + 2**56
