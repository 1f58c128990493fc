"""Stretches of time in which roll-ups are held against what they were summed from."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

STEP_ROWS: Final = 16_384  # about 30 ms of reading
DAY_MS: Final = 86_400_000


class SumsPlace(msgspec.Struct, frozen=True):
    """Where the check stands: at `from_ms`.

    `last_ms` is the start of the last roll-up or record when the check began.
    """

    from_ms: int
    last_ms: int


def begun(
    connection: sqlite3.Connection,
    ends: Sequence[tuple[str, str]],
    unit_ms: int,
    since_ms: int | None = None,
) -> SumsPlace | None:
    """The place at the first of these (time, table); None if there is nothing to look at.

    `since_ms`: begin with this moment and not with the first.
    """
    ends_ms = [
        ms
        for time, table in ends
        for ms in _ends(connection, time, table)
        if ms is not None  # an empty table
    ]
    if not ends_ms:
        return None
    first_ms, last_ms = min(ends_ms), max(ends_ms)
    from_ms = first_ms if since_ms is None else max(first_ms, since_ms)
    return SumsPlace(from_ms // unit_ms * unit_ms, last_ms)


def stretch(
    connection: sqlite3.Connection,
    at: SumsPlace,
    time: str,
    table: str,
    unit_ms: int,
    rows: int,
) -> tuple[int, int]:
    """The stretch from there on that holds about so many rows of the table, in whole units."""
    row = connection.execute(
        f"SELECT {time} FROM {table} WHERE {time} >= ? ORDER BY {time} LIMIT 1 OFFSET ?",
        (at.from_ms, rows),
    ).fetchone()
    upto_ms = at.last_ms if row is None or not isinstance(row[0], int) else row[0]
    last_ms = min(upto_ms, at.last_ms)
    return at.from_ms, last_ms // unit_ms * unit_ms + unit_ms


def _ends(connection: sqlite3.Connection, time: str, table: str) -> tuple[int | None, int | None]:
    """The first and the last time in a table."""
    # One by one, so that each is one look into an index.
    first = connection.execute(f"SELECT min({time}) FROM {table}").fetchone()[0]
    last = connection.execute(f"SELECT max({time}) FROM {table}").fetchone()[0]
    if isinstance(first, int | None) and isinstance(last, int | None):
        return first, last
    # Damage made a time into a text, which sorts behind all numbers. No index helps here.
    numbers = f"SELECT min({time}), max({time}) FROM {table} WHERE typeof({time}) = 'integer'"
    found: tuple[int | None, int | None] = connection.execute(numbers).fetchone()
    return found
