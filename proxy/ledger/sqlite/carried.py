"""What is carried of roll-ups whose sums are beyond 63 bits, in a table beside them.

A column of SQLite holds 63 bits: nine billion units of a currency, which entries by hand in dong or
rupiah reach. A sum is the number in its row and, if the row has one here, `UNIT` times the number
there. Few ledgers have such a row. Money of wide spans needs none: it comes in two halves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from proxy.ledger.sqlite.sums import (
    FAMILIES,
    FIRST_SUMS,
    GROUPS,
    KEYED,
    MONEY,
    MORE_SUMS,
    SUMS,
    same_group,
)

UNIT: Final = 2**62
CARRIED_SINCE: Final = 17  # the schema version
_SUMS: Final = (*FIRST_SUMS, *MORE_SUMS)  # those of then
_BOUNDED: Final = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} WHERE "
    + " OR ".join(
        f"{name} NOT BETWEEN -{2**58} AND {2**58}"
        for name, _ in _SUMS
        if not name.endswith("requests") and (table == "rollups" or name not in MONEY)
    )
    + ")"
    for table in ("rollups", *(table for family in FAMILIES for table, _ in family.wide))
)
DUE: Final = "all"  # in place of a table's name: the roll-ups must be made anew
# `span` names the table that has the row. The key is null where spans have none. Earlier versions
# kept sums at a bound of 63 bits. Where one may have stood there, a start makes all roll-ups anew.
CARRIED: Final = f"""
CREATE TABLE carried_sums (
    span TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    key_id TEXT,
    team TEXT,
    model_requested TEXT,
    upstream TEXT NOT NULL,
    currency TEXT,
    {", ".join(f"{name} INTEGER" for name, _ in _SUMS)}
) STRICT;
CREATE UNIQUE INDEX carried_sums_row ON carried_sums (span, bucket_ms, ifnull(key_id, 0), \
ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0));
INSERT INTO carried_sums (span, bucket_ms, upstream) SELECT '{DUE}', 0, '-' WHERE {_BOUNDED};
"""
_NAMES: Final = ", ".join(name for name, _ in SUMS)

_OF_QUARTERS: Final = (
    f"SELECT 1 FROM rollups AS r WHERE r.bucket_ms = c.bucket_ms AND {same_group('r', 'c', KEYED)}"
)
_OF_WIDE: Final = (
    "SELECT 1 FROM {names} AS g JOIN {table} AS t ON t.group_id = g.id AND t.bucket_ms = "
    "c.bucket_ms WHERE {same}"
)
_ROWS_BY_SPAN: Final = {"rollups": _OF_QUARTERS} | {
    table: _OF_WIDE.format(names=family.names, table=table, same=same_group("g", "c", family))
    for family in FAMILIES
    for table, _ in family.wide
}
_STRAY: Final = " AND ".join(
    f"NOT (span = '{table}' AND EXISTS ({rows}))" for table, rows in _ROWS_BY_SPAN.items()
)

Key: TypeAlias = tuple[str | int | None, ...]  # the start of the span, then the groups
Totals: TypeAlias = tuple[int | None, ...]  # in the order of SUMS


def parted(total: int | None) -> tuple[int | None, int | None]:
    """A sum as the number in its row, and what is carried of it; None: nothing."""
    if total is None or -UNIT < total < UNIT:
        return total, None
    units = (total + UNIT // 2) // UNIT
    kept = total - units * UNIT
    # A row of zeros would look as if there was nothing in the span.
    return (kept, units) if kept else (UNIT, units - 1)


def of_span(table: str, bounds: str) -> str:
    """A query for what is carried of a table's rows in these bounds of `bucket_ms`."""
    groups = ", ".join(GROUPS)
    return (
        f"SELECT bucket_ms AS at, {groups}, {_NAMES} FROM carried_sums WHERE span = '{table}' AND "
        f"{bounds}"
    )


def carried(
    connection: sqlite3.Connection,
    table: str,
    groups: Sequence[str],
    bounds: Sequence[int],
    start: str = "bucket_ms",
) -> dict[Key, Totals]:
    """What is carried of a table's rows that start in [from_ms, to_ms), in whole numbers.

    It is summed by `start`, an expression of `bucket_ms`, and by these groups.
    """
    if not _is_there(connection):
        return {}
    width = len(groups) + 1
    rows = connection.execute(
        f"SELECT {start}, {', '.join(groups)}, {_NAMES} FROM carried_sums WHERE span = ? AND "
        "bucket_ms >= ? AND bucket_ms < ?",
        (table, *bounds),
    )
    found: dict[Key, Totals] = {}
    for row in rows:
        found[row[:width]] = added(found.get(row[:width]), tuple(map(_whole, row[width:])))
    return found


def with_carried(
    rows: Iterable[tuple[Key, Totals]], more: Mapping[Key, Totals]
) -> Iterator[tuple[Key, Totals]]:
    """The rows with what is carried of each; last what is carried of no row."""
    left = dict(more)
    for key, totals in rows:
        extra = left.pop(key, None) if left else None
        yield key, totals if extra is None else added(totals, extra)
    yield from left.items()


def added(one: Totals | None, other: Totals) -> Totals:
    """The sums of both; unknown and unknown is unknown."""
    if one is None:
        return other
    return tuple(
        b if a is None else a if b is None else a + b for a, b in zip(one, other, strict=True)
    )


def strays(connection: sqlite3.Connection) -> int:
    """How many rows are carried of no roll-up."""
    if not _is_there(connection):
        return 0
    query = f"SELECT count(*) FROM carried_sums AS c WHERE {_STRAY}"
    return int(connection.execute(query).fetchone()[0])


def has_carried(connection: sqlite3.Connection) -> bool:
    """Whether anything is carried."""
    query = "SELECT EXISTS (SELECT 1 FROM carried_sums)"
    return _is_there(connection) and connection.execute(query).fetchone() == (1,)


def _is_there(connection: sqlite3.Connection) -> bool:
    """Not in a ledger that no process of this version has opened yet."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'carried_sums'"
    return connection.execute(query).fetchone() is not None


def _whole(units: Any) -> Any:
    return units * UNIT if isinstance(units, int) else units
