"""Sums of any size: what is added to roll-ups is in them to the last unit, in whatever order."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ledger import Batch
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.adding import add
from proxy.ledger.sqlite.carried import added, carried, of_span, with_carried
from proxy.ledger.sqlite.schema import migrate
from proxy.ledger.sqlite.sums import FAMILIES, GROUPS, SUMS, added_quarters, added_wide
from proxy.ledger.sqlite.verify_sums import wide_step
from proxy.ledger.stretches import END_MS, FIRST_MS
from tests.ledger.samples import START_MS, make_record, numbered, open_book, rows
from tests.ledger.whole_book import verified
from tests.support.effort import examples

ALWAYS = (FIRST_MS, END_MS)
NAMES = [name for name, _ in SUMS]
COLUMNS = ", ".join(["bucket_ms", *GROUPS, *NAMES])
SOURCE = f"SELECT {COLUMNS} FROM temp.source"
QUARTERS = added_quarters(SOURCE)
SPANS = added_wide(SOURCE.replace("bucket_ms", "bucket_ms AS at"))
# Around the bounds of floats, of 63 and 64 bits, and of what is carried.
EDGES = [2**53, 2**61, 2**62, 2**63 - 1]
SIZES = st.one_of(
    st.none(),
    st.integers(-9, 9),
    st.builds(
        lambda edge, off, sign: max(-(2**63), min(2**63 - 1, sign * (edge + off))),
        st.sampled_from(EDGES),
        st.integers(-2, 2),
        st.sampled_from([1, -1]),
    ),
)
LINES = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "t"]),
    st.lists(SIZES, min_size=len(NAMES), max_size=len(NAMES)),
)

Line = tuple[Any, ...]


def line(place: int, key: str, team: str | None, sums: Sequence[int | None]) -> Line:
    counted = [
        0 if value is None and name.endswith("requests") else value
        for name, value in zip(NAMES, sums, strict=True)
    ]
    return (
        START_MS // BUCKET_MS * BUCKET_MS + place * BUCKET_MS,
        key,
        team,
        "m",
        "u",
        "VND",
        *counted,
    )


def filled(connection: sqlite3.Connection, lines: Iterable[Line]) -> None:
    connection.execute("DROP TABLE IF EXISTS temp.source")
    connection.execute(f"CREATE TEMP TABLE source ({COLUMNS})")
    marks = ", ".join("?" * (1 + len(GROUPS) + len(NAMES)))
    connection.executemany(f"INSERT INTO temp.source VALUES ({marks})", lines)


@settings(max_examples=examples(60))
@given(st.lists(st.lists(LINES, min_size=1, max_size=6), min_size=1, max_size=5))
def test_roll_ups_have_the_sums_of_what_was_added(batches: list[list[Any]]) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "x")
        connection.execute(
            "UPDATE fold SET folded_until_ms = ?",
            (START_MS // BUCKET_MS * BUCKET_MS + 9 * BUCKET_MS,),
        )
        expected: dict[Line, Any] = {}
        connection.execute("BEGIN")
        for batch in batches:
            lines = [line(*each) for each in batch]
            filled(connection, lines)
            for adding in (QUARTERS, *SPANS):
                add(connection, adding)
            for each in lines:
                key, totals = each[:6], each[6:]
                expected[key] = added(expected.get(key), totals)
        connection.execute("COMMIT")
        stored = ((row[:6], row[6:]) for row in rows(connection, f"SELECT {COLUMNS} FROM rollups"))
        found = dict(with_carried(stored, carried(connection, "rollups", GROUPS, ALWAYS)))
        assert found == expected
        # Each wider span is held against the quarter hours, as `ledger verify` does it.
        assert wide_step(connection, None, quickly=False).findings == []
        # What is carried of rows is of rows that are there.
        tables = ["rollups", *(table for family in FAMILIES for table, _ in family.wide)]
        spans = {span for (span,) in rows(connection, "SELECT DISTINCT span FROM carried_sums")}
        assert spans <= set(tables)


def test_a_sum_that_comes_back_is_right() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "x")
        for amount in (2**63 - 1, 2**63 - 1, -(2**63 - 1), -(2**63 - 1), 5):
            filled(connection, [line(0, "a", None, [amount] * len(NAMES))])
            add(connection, QUARTERS)
        # Only adding past the bound looks at what is carried.
        [totals] = carried(connection, "rollups", GROUPS, ALWAYS).values() or [(0,) * len(NAMES)]
        [row] = rows(connection, f"SELECT {', '.join(NAMES)} FROM rollups")
        assert [a + (b or 0) for a, b in zip(row, totals, strict=True)] == [5] * len(NAMES)


def test_what_is_carried_goes_when_the_sum_fits_its_row_again() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "x")
        for amount in (3 * 2**61, 3 * 2**61, -(2**63 - 1), -(2**63 - 1)):
            filled(connection, [line(0, "a", None, [amount] * len(NAMES))])
            add(connection, QUARTERS)
        assert carried(connection, "rollups", GROUPS, ALWAYS) == {}
        [row] = rows(connection, f"SELECT {', '.join(NAMES)} FROM rollups")
        assert set(row) == {2 - 2**62}


def test_wide_spans_are_made_of_quarter_hours_with_what_is_carried_of_them() -> None:
    quarters = "bucket_ms < :until_ms"
    passed = added_wide(
        f"SELECT {COLUMNS} FROM rollups WHERE {quarters}".replace("bucket_ms,", "bucket_ms AS at,"),
        of_span("rollups", quarters),
    )
    until_ms = START_MS // BUCKET_MS * BUCKET_MS + 9 * BUCKET_MS
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "x")
        connection.execute("UPDATE fold SET folded_until_ms = ?", (until_ms,))
        for _ in range(5):
            filled(connection, [line(0, "a", "t", [2**61] * len(NAMES))])
            add(connection, QUARTERS)
        assert carried(connection, "rollups", GROUPS, ALWAYS)
        for adding in passed:
            add(connection, adding, {"until_ms": until_ms})
        assert wide_step(connection, None, quickly=False).findings == []


def test_another_error_is_raised() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "x")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            add(connection, QUARTERS)


def test_what_is_carried_of_no_roll_up_is_found(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    (tmp_path / "ledger.key").write_text(bytes(range(32)).hex())
    for start in range(0, 192, 64):
        huge = [make_record(start + n, cost_nano=2**56, currency="VND") for n in range(64)]
        book.book(Batch("w0", numbered(*huge, after=start)))
    assert verified(tmp_path / "ledger.db").found == 0
    for forgery, told in [
        ("UPDATE carried_sums SET cost_nano = cost_nano + 1", "cost_nano is"),
        ("UPDATE carried_sums SET key_id = 'nobody'", "no record behind"),
        ("UPDATE carried_sums SET bucket_ms = 9000000000000", "1 parts of sums belong to no"),
        ("INSERT INTO carried_sums (span, bucket_ms, upstream) VALUES ('x', 1, 'u')", "2 parts"),
        ("DELETE FROM carried_sums", "cost_nano is"),
    ]:
        connection.execute("BEGIN")
        assert connection.execute(forgery).rowcount > 0
        connection.execute("COMMIT")
        found = verified(tmp_path / "ledger.db")
        assert any(told in finding.what for finding in found.findings), found
    connection.close()
