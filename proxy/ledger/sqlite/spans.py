"""The query that reads a range of time from roll-ups and records in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.spans import BUCKET_MS, QUARTERS, RECORDS, Piece, Reach
from proxy.ledger.sqlite.sums import GROUPS, HALF, MONEY, SUMS

# A version of the schema. An older ledger that was not opened for writing since then has only
# quarter hours.
WIDE_SINCE_VERSION = 3

_EXPRESSIONS = dict(SUMS)

Only: TypeAlias = Sequence[tuple[str, str]]  # columns that have one value, each with it


def reach(connection: sqlite3.Connection, version: int) -> Reach:
    """How far the roll-ups of this ledger reach."""
    (first_ms,) = connection.execute("SELECT min(bucket_ms) FROM rollups").fetchone()
    (until_ms,) = (
        connection.execute("SELECT folded_until_ms FROM fold").fetchone()
        if version >= WIDE_SINCE_VERSION
        else (0,)
    )
    return Reach(first_ms, until_ms)


def source(
    parts: Sequence[Piece],
    names: Sequence[str],
    only: Only = (),
    *,
    with_bucket: bool = False,
) -> tuple[str, list[int | str]]:
    """A query for the groups and the two halves of each named sum (`…_h`, `…_l`), with its values.

    A half has 32 bits: SQLite refuses to sum past 63 bits, and money may reach that. A group may
    come more than once. `with_bucket` puts the quarter hour `bucket_ms` in front; wide spans have
    none. Roll-ups are read of the groups that `only` chooses; of records all groups come.
    """
    queries: list[str] = []
    bounds: list[int | str] = []
    for part in parts:
        assert not (with_bucket and part.table not in (RECORDS, QUARTERS)), (
            "a wide span has no quarter hour"
        )
        query, own = (
            _of_records(part, names, with_bucket)
            if part.table == RECORDS
            else _of_rollups(part, names, only, with_bucket)
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


def buckets(from_ms: int | None, to_ms: int | None) -> tuple[str, list[int]]:
    """A query for the `bucket_ms` of each quarter hour with a record, once, and its values.

    It goes from one to the next by the index, past the rows of all groups.
    """
    where, bounds = ranged("bucket_ms", from_ms, to_ms)
    return (
        "WITH RECURSIVE found (bucket_ms) AS ("
        f"SELECT min(bucket_ms) FROM rollups WHERE {where} UNION ALL "
        "SELECT (SELECT min(bucket_ms) FROM rollups WHERE bucket_ms > found.bucket_ms AND "
        f"{where}) FROM found WHERE bucket_ms IS NOT NULL) "
        "SELECT bucket_ms FROM found WHERE bucket_ms IS NOT NULL",
        bounds * 2,
    )


def _of_records(
    part: Piece, names: Sequence[str], with_bucket: bool
) -> tuple[str, list[int | str]]:
    where, bounds = ranged("{row}.started_at_ms", part.from_ms, part.to_ms)
    bucket = [f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"] if with_bucket else []
    sums = [(name, _EXPRESSIONS[name]) for name in names]
    return counted(Columns(bucket, GROUPS, sums, halves), where), [*bounds, *bounds]


def _of_rollups(
    part: Piece, names: Sequence[str], only: Only, with_bucket: bool
) -> tuple[str, list[int | str]]:
    where, bounds = ranged("bucket_ms", part.from_ms, part.to_ms)
    chosen = "".join(f" AND {column} = ?" for column, _ in only)
    values = [value for _, value in only]
    if part.table == QUARTERS:
        columns = [
            *(["bucket_ms"] if with_bucket else []),
            *GROUPS,
            *(halves(name, name) for name in names),
        ]
        if any(column == "key_id" for column, _ in only):
            # The index has the key behind the quarter hour: one look at each of them.
            found, bounds = buckets(part.from_ms, part.to_ms)
            where = f"bucket_ms IN ({found})"
        query = f"SELECT {', '.join(columns)} FROM rollups WHERE {where}{chosen}"
        return query, [*bounds, *values]
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
        f"group_id = g.id AND {where}{' WHERE ' + chosen[5:] if only else ''} GROUP BY g.id",
        [*bounds, *values],
    )
