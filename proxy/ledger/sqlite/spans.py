"""The query that reads a range of time from roll-ups and records in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from proxy.ledger.grouping import IN_ROLLUPS, TIMES, Ask, Window
from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.spans import BUCKET_MS, QUARTERS, RECORDS, STEPS_MS, Piece, Reach, pieces
from proxy.ledger.sqlite.carried import CARRIED_SINCE, UNIT, has_carried
from proxy.ledger.sqlite.sums import GROUPS, HALF, KEYED, KEYLESS, MONEY, SUMS, SpanFamily

# A version of the schema. An older ledger that was not opened for writing since then has only
# quarter hours.
WIDE_SINCE_VERSION = 3
KEYLESS_SINCE_VERSION = 15

_EXPRESSIONS = dict(SUMS)

Query: TypeAlias = tuple[str, list[int | str]]  # a query and its values


def reach(connection: sqlite3.Connection, version: int) -> Reach:
    """How far the roll-ups of this ledger reach."""
    (first_ms,) = connection.execute("SELECT min(bucket_ms) FROM rollups").fetchone()
    (until_ms,) = (
        connection.execute("SELECT folded_until_ms FROM fold").fetchone()
        if version >= WIDE_SINCE_VERSION
        else (0,)
    )
    keyless = version >= KEYLESS_SINCE_VERSION
    return Reach(first_ms, until_ms, keyless, version >= CARRIED_SINCE and has_carried(connection))


def source(
    parts: Sequence[Piece],
    ask: Ask,
    family: SpanFamily = KEYED,
    *,
    with_bucket: bool = False,
    carried: bool = False,
) -> Query:
    """A query for what is asked of these parts: the groups and two halves of each sum.

    The groups are the columns that `ask.by` names of roll-ups, and the currency. A half (`…_h`,
    `…_l`) has 32 bits: SQLite refuses to sum past 63 bits, and money may reach that. A group may
    come more than once. `with_bucket` puts the quarter hour `bucket_ms` in front; wide spans have
    none. `carried`: add what is carried of the sums, as `Reach` says.
    """
    found = []
    for part in parts:
        assert not (with_bucket and part.table not in (RECORDS, QUARTERS)), (
            "a wide span has no quarter hour"
        )
        bucket = ["bucket_ms"] if with_bucket else []
        if part.table == RECORDS:
            found.append(_of_records(part, ask, bucket))
            continue
        if part.table == QUARTERS:
            within = _within(part, ask)
            found.append(_of_quarters(ask, bucket, within))
        else:
            where, bounds = ranged("bucket_ms", *_ends(part))
            within = (where, [*bounds])
            found.append(_of_wide(part.table, ask, family, "", within))
        if carried:
            found.append(_of_carried(part.table, ask, family, bucket, within))
    return _all(found)


def source_of_windows(reached: Reach, windows: Sequence[Window], ask: Ask) -> Query:
    """The same of each window, with its first day as `day` in front.

    Each table is read once for all windows, by the starts of the spans that they have of it.
    """
    found: list[Query] = []
    family = family_of(reached, ask)
    starts: dict[str, list[tuple[int, str]]] = {}
    for day, from_ms, to_ms in windows:
        for part in pieces(from_ms, to_ms, reached):
            if part.table == RECORDS or part.from_ms is None or part.to_ms is None:
                query, values = source([part], ask, family, carried=reached.carried)
                found.append((f"SELECT ? AS day, * FROM ({query})", [day, *values]))
            else:
                spans = range(part.from_ms, part.to_ms, STEPS_MS[part.table])
                starts.setdefault(part.table, []).extend((ms, day) for ms in spans)
    found += [
        _by_day(table, of_table, ask, family, carried=reached.carried)
        for table, of_table in starts.items()
    ]
    return _all(found)


def _by_day(
    table: str,
    starts: Sequence[tuple[int, str]],
    ask: Ask,
    family: SpanFamily,
    *,
    carried: bool,
) -> Query:
    """What is asked of one table, by the day that belongs to each span."""
    spans = msgspec.json.encode([ms for ms, _ in starts]).decode()
    within: Query = ("bucket_ms IN (SELECT value FROM json_each(?))", [spans])
    if table == QUARTERS:
        chosen = within
        found = _of_quarters(ask, ["bucket_ms"], chosen)
    else:
        first_ms, last_ms = min(ms for ms, _ in starts), max(ms for ms, _ in starts)
        where, bounds = ranged("bucket_ms", first_ms, last_ms + 1)
        # Where that would read more than is asked for.
        gaps = len(starts) < (last_ms - first_ms) // STEPS_MS[table] + 1
        chosen = (f"{where} AND {within[0]}", [*bounds, spans]) if gaps else (where, [*bounds])
        found = _of_wide(table, ask, family, "bucket_ms", chosen)
    if carried:
        found = _all([found, _of_carried(table, ask, family, ["bucket_ms"], chosen)])
    query, values = found
    columns = ", ".join([*groups_of(ask), *(f"{name}_h, {name}_l" for name in ask.names)])
    days = msgspec.json.encode([{"at": ms, "day": day} for ms, day in starts]).decode()
    clock = (
        "SELECT json_extract(value, '$.at') AS bucket_ms, json_extract(value, '$.day') AS day "
        "FROM json_each(?)"
    )
    joined = (
        f"SELECT * FROM (WITH clock AS MATERIALIZED ({clock}) SELECT day, {columns} "
        f"FROM ({query}) JOIN clock USING (bucket_ms))"
    )
    return joined, [days, *values]


def groups_of(ask: Ask) -> list[str]:
    """The columns of roll-ups that are asked for, with the currency."""
    return [*(IN_ROLLUPS[name] for name in ask.by if name not in TIMES), "currency"]


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


def _all(found: Sequence[Query]) -> Query:
    return " UNION ALL ".join(query for query, _ in found), [
        value for _, values in found for value in values
    ]


def _ends(part: Piece) -> tuple[int | None, int | None]:
    return part.from_ms, part.to_ms


def _only(ask: Ask) -> Query:
    """The condition that columns have the one value that is asked for."""
    terms = "".join(f" AND {column} = ?" for column, _ in ask.only())
    return terms, [value for _, value in ask.only()]


def _within(part: Piece, ask: Ask) -> Query:
    """The condition that a quarter hour lies in the part."""
    if ask.key is None:
        where, bounds = ranged("bucket_ms", *_ends(part))
        return where, [*bounds]
    # The index has the key behind the quarter hour: one look at each of them.
    found, bounds = buckets(*_ends(part))
    return f"bucket_ms IN ({found})", [*bounds]


def _of_records(part: Piece, ask: Ask, bucket: Sequence[str]) -> Query:
    where, bounds = ranged("{row}.started_at_ms", *_ends(part))
    own = [f"started_at_ms - started_at_ms % {BUCKET_MS} AS {name}" for name in bucket]
    sums = [(name, _EXPRESSIONS[name]) for name in ask.names]
    rows = counted(Columns(own, GROUPS, sums, halves), where)
    only, values = _only(ask)
    columns = [*bucket, *groups_of(ask), *(f"{name}_h, {name}_l" for name in ask.names)]
    query = f"SELECT {', '.join(columns)} FROM ({rows}) WHERE 1{only}"
    return query, [*bounds, *bounds, *values]


def _of_quarters(ask: Ask, bucket: Sequence[str], within: Query) -> Query:
    only, values = _only(ask)
    columns = [*bucket, *groups_of(ask), *(halves(name, name) for name in ask.names)]
    query = f"SELECT {', '.join(columns)} FROM rollups WHERE {within[0]}{only}"
    return query, [*within[1], *values]


def _of_carried(
    table: str, ask: Ask, family: SpanFamily, bucket: Sequence[str], within: Query
) -> Query:
    """What is carried of a table's sums; of money in wide spans there is nothing."""
    only, values = _only(ask)
    of_unit = f"{{0}} * {UNIT // HALF} AS {{0}}_h, {{0}} * 0 AS {{0}}_l"
    columns = [*bucket, *groups_of(ask), *(of_unit.format(name) for name in ask.names)]
    span = table if table == QUARTERS else family.table(table)
    query = (
        f"SELECT {', '.join(columns)} FROM carried_sums WHERE span = '{span}' AND {within[0]}{only}"
    )
    return query, [*within[1], *values]


def family_of(reached: Reach, ask: Ask) -> SpanFamily:
    """The wide roll-ups that answer it with the fewest rows."""
    return KEYED if ask.names_keys() or not reached.keyless else KEYLESS


def _of_wide(table: str, ask: Ask, family: SpanFamily, bucket: str, within: Query) -> Query:
    """What is asked of a wide table, summed; by span too if `bucket` names it."""
    only, values = _only(ask)
    sums = [
        f"sum({name}_high) AS {name}_h, sum({name}_low) AS {name}_l"
        if name in MONEY
        else halves(name, f"sum({name})")
        for name in ask.names
    ]
    groups = groups_of(ask)
    shown = [bucket, *groups] if bucket else groups
    # The spans of a group lie together, so that summing by its number needs no sorting. It leaves
    # as many sums as there are keys and models; where not both are asked for, rows are sorted.
    keys = ["g.id"] if {"key", "model"} <= set(ask.by) else groups
    by = ", ".join([*keys, bucket] if bucket else keys)
    # CROSS JOIN makes SQLite go group by group.
    query = (
        f"SELECT {', '.join([*shown, *sums])} FROM {family.names} AS g "
        f"CROSS JOIN {family.table(table)} ON group_id = g.id AND {within[0]} "
        f"WHERE 1{only} GROUP BY {by}"
    )
    return query, [*within[1], *values]
