"""A stretch of time holds some rows, in whole units, and all stretches cover the time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ledger.sqlite.sum_stretches import SumsPlace, begun, stretch

UNIT_MS = 10


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE rows (at INTEGER)")
    connection.execute("CREATE TABLE others (at INTEGER)")
    yield connection
    connection.close()


def filled(connection: sqlite3.Connection, times: Sequence[object]) -> None:
    connection.execute("DELETE FROM rows")
    connection.executemany("INSERT INTO rows VALUES (?)", [(at,) for at in times])


@given(times=st.lists(st.integers(-100, 500), min_size=1, max_size=60), most=st.integers(1, 9))
def test_stretches_cover_each_row_once(
    connection: sqlite3.Connection, times: list[int], most: int
) -> None:
    filled(connection, times)
    at = begun(connection, [("at", "rows"), ("at", "others")], UNIT_MS)
    seen: list[int] = []
    while at is not None:
        low, high = stretch(connection, at, "at", "rows", UNIT_MS, most)
        assert low % UNIT_MS == high % UNIT_MS == 0 and low < high
        inside = sorted(time for time in times if low <= time < high)
        # Beyond the most, only what lies in the last unit.
        assert len([time for time in inside if time < high - UNIT_MS]) <= most
        seen += inside
        at = SumsPlace(high, at.last_ms) if high <= at.last_ms else None
    assert seen == sorted(times)


def test_without_rows_there_is_nothing_to_look_at(connection: sqlite3.Connection) -> None:
    filled(connection, [])
    assert begun(connection, [("at", "rows"), ("at", "others")], UNIT_MS) is None


def test_it_begins_no_earlier_than_asked(connection: sqlite3.Connection) -> None:
    filled(connection, [5, 35, 77])
    assert begun(connection, [("at", "rows")], UNIT_MS, since_ms=37) == SumsPlace(30, 77)
    assert begun(connection, [("at", "rows")], UNIT_MS, since_ms=-50) == SumsPlace(0, 77)


def test_damage_that_made_text_of_a_time_is_passed_over(connection: sqlite3.Connection) -> None:
    filled(connection, [15, "spoilt", 44])
    assert begun(connection, [("at", "rows")], UNIT_MS) == SumsPlace(10, 44)
    assert stretch(connection, SumsPlace(10, 44), "at", "rows", UNIT_MS, 2) == (10, 50)
