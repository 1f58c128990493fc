"""Splits a range of time into roll-ups and records, and makes the query that reads them.

The middle of the range is read from whole months. Towards its ends come days, four hours and
quarter hours, and records for a part of a quarter hour.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from proxy.ledger.sqlite.late_prices import counted
from proxy.ledger.sqlite.sums import BUCKET_MS, FOUR_HOURS_MS, GROUPS, HALF, MONEY, SUMS, WIDE

# A version of the schema. An older ledger that was not opened for writing since then has only
# quarter hours.
WIDE_SINCE_VERSION = 3
RECORDS, QUARTERS = "records", "rollups"

_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPRESSIONS = dict(SUMS)


class Piece(msgspec.Struct, frozen=True):
    """The part of a range that is read from one table; [from_ms, to_ms), open where None."""

    table: str
    from_ms: int | None
    to_ms: int | None


class Reach(msgspec.Struct, frozen=True):
    """The time that roll-ups cover.

    They begin at `first_ms`; None: there are none. The wide ones are complete up to
    `folded_until_ms`; 0: there are none.
    """

    first_ms: int | None
    folded_until_ms: int


def reach(connection: sqlite3.Connection, version: int) -> Reach:
    """How far the roll-ups of this ledger reach."""
    (first_ms,) = connection.execute("SELECT min(bucket_ms) FROM rollups").fetchone()
    (until_ms,) = (
        connection.execute("SELECT folded_until_ms FROM fold").fetchone()
        if version >= WIDE_SINCE_VERSION
        else (0,)
    )
    return Reach(first_ms, until_ms)


def pieces(from_ms: int | None, to_ms: int | None, reach: Reach) -> list[Piece]:
    """The range in pieces that do not overlap. There is at least one, which may be empty."""
    if from_ms is not None and reach.first_ms is not None and from_ms <= reach.first_ms:
        from_ms = None  # so that the first month is read as a whole and not by days
    folded_ms = reach.folded_until_ms
    found: list[Piece] = []
    rest = [(from_ms, to_ms)]
    if folded_ms > 0 and (from_ms is None or from_ms < folded_ms):
        ends_before = to_ms is not None and to_ms < folded_ms
        rest = [] if ends_before else [(folded_ms, to_ms)]
        found, left = _wide(from_ms, to_ms if ends_before else None, folded_ms)
        rest += left
    for start_ms, end_ms in rest:
        found += _narrow(start_ms, end_ms)
    return found if found else [Piece(RECORDS, from_ms, to_ms)]


def _wide(
    from_ms: int | None, to_ms: int | None, folded_ms: int
) -> tuple[list[Piece], list[tuple[int | None, int | None]]]:
    """The wide spans in the range, widest first, and the rests at its ends.

    `to_ms` None is `folded_ms`, where the last span of each width ends.
    """
    found: list[Piece] = []
    rest = [(from_ms, to_ms)]
    for table, _ in reversed(WIDE):
        left: list[tuple[int | None, int | None]] = []
        for start_ms, end_ms in rest:
            first_ms = None if start_ms is None else _up(table, start_ms)
            last_ms = None if end_ms is None else _down(table, end_ms)
            if first_ms is not None and first_ms >= (folded_ms if last_ms is None else last_ms):
                left.append((start_ms, end_ms))
                continue
            found.append(Piece(table, first_ms, last_ms))
            if start_ms != first_ms:
                left.append((start_ms, first_ms))
            if end_ms != last_ms:
                left.append((last_ms, end_ms))
        rest = left
    return found, [(start_ms, folded_ms if end_ms is None else end_ms) for start_ms, end_ms in rest]


def _narrow(from_ms: int | None, to_ms: int | None) -> Iterator[Piece]:
    """The whole quarter hours of a range, and the records of the parts at its ends."""
    first_ms = None if from_ms is None else -(-from_ms // BUCKET_MS) * BUCKET_MS
    end_ms = None if to_ms is None else to_ms // BUCKET_MS * BUCKET_MS
    if first_ms is not None and end_ms is not None and first_ms > end_ms:  # within one quarter hour
        yield Piece(RECORDS, from_ms, to_ms)
        return
    if from_ms != first_ms:
        yield Piece(RECORDS, from_ms, first_ms)
    if first_ms is None or first_ms != end_ms:
        yield Piece(QUARTERS, first_ms, end_ms)
    if end_ms != to_ms:
        yield Piece(RECORDS, end_ms, to_ms)


def _down(table: str, ms: int) -> int:
    """The start of the table's span in which the moment lies."""
    if table == "rollups_monthly":
        first = (_EPOCH + timedelta(milliseconds=ms)).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        return (first - _EPOCH) // timedelta(milliseconds=1)
    width_ms = FOUR_HOURS_MS if table == "rollups_4h" else _DAY_MS
    return ms // width_ms * width_ms


def _up(table: str, ms: int) -> int:
    """The first start of a span at or after the moment."""
    start_ms = _down(table, ms)
    if start_ms == ms:
        return ms
    return _down(
        table,
        start_ms
        + (
            32 * _DAY_MS
            if table == "rollups_monthly"
            else FOUR_HOURS_MS
            if table == "rollups_4h"
            else _DAY_MS
        ),
    )


def source(
    parts: Sequence[Piece], names: Sequence[str], *, with_bucket: bool = False
) -> tuple[str, list[int]]:
    """A query for the groups and the two halves of each named sum (`…_h`, `…_l`), with its values.

    A half has 32 bits: SQLite refuses to sum past 63 bits, and money may reach that. A group may
    come more than once. `with_bucket` puts the quarter hour `bucket_ms` in front; wide spans have
    none.
    """
    queries, bounds = [], []
    for part in parts:
        assert not (with_bucket and part.table not in (RECORDS, QUARTERS)), (
            "a wide span has no quarter hour"
        )
        query, own = (
            _of_records(part, names, with_bucket)
            if part.table == RECORDS
            else _of_rollups(part, names, with_bucket)
        )
        queries.append(query)
        bounds += own
    return " UNION ALL ".join(queries), bounds


def halves(name: str, expression: str) -> str:
    """The two halves of a number, as columns."""
    return f"{expression} / {HALF} AS {name}_h, {expression} % {HALF} AS {name}_l"


def ranged(column: str, from_ms: int | None, to_ms: int | None) -> tuple[str, list[int]]:
    """The condition that a column lies in [from_ms, to_ms), and its values."""
    bounds = [
        (f"{column} {sign} ?", ms) for sign, ms in ((">=", from_ms), ("<", to_ms)) if ms is not None
    ]
    return " AND ".join(term for term, _ in bounds) or "1", [ms for _, ms in bounds]


def _of_records(part: Piece, names: Sequence[str], with_bucket: bool) -> tuple[str, list[int]]:
    where, bounds = ranged("{row}.started_at_ms", part.from_ms, part.to_ms)
    bucket = [f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"] if with_bucket else []
    sums = [(name, _EXPRESSIONS[name]) for name in names]
    return counted(bucket, GROUPS, sums, halves, where), bounds * 2


def _of_rollups(part: Piece, names: Sequence[str], with_bucket: bool) -> tuple[str, list[int]]:
    where, bounds = ranged("bucket_ms", part.from_ms, part.to_ms)
    if part.table == QUARTERS:
        columns = [
            *(["bucket_ms"] if with_bucket else []),
            *GROUPS,
            *(halves(name, name) for name in names),
        ]
        return f"SELECT {', '.join(columns)} FROM rollups WHERE {where}", bounds
    sums = [
        f"sum({name}_high) AS {name}_h, sum({name}_low) AS {name}_l"
        if name in MONEY
        else halves(name, f"sum({name})")
        for name in names
    ]
    # The spans of a group lie together. CROSS JOIN makes SQLite go group by group, so that it has
    # nothing to sort.
    return (
        f"SELECT {', '.join([*GROUPS, *sums])} FROM rollup_groups AS g CROSS JOIN {part.table} ON "
        f"group_id = g.id AND {where} GROUP BY g.id",
        bounds,
    )
