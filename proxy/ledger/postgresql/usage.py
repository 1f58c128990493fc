"""Sums over the book in PostgreSQL, grouped by any names that records have.

They are read from the widest roll-ups that have the names, of all writers together. For other names
they are read from the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from proxy.ledger import grouping
from proxy.ledger.grouping import FLAGGED, IN_ROLLUPS, TIMES, Ask, Line, Window
from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.postgresql.archive import archived_flags, check_in_book, source_of_records
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.sums import GROUPS, IN_THE_BOOK, KEYED, KEYLESS, SUMS, bucket
from proxy.ledger.postgresql.texts import clean
from proxy.ledger.postgresql.values import json_value
from proxy.ledger.reading import LABEL, TAG, UsageRow
from proxy.ledger.spans import (
    BUCKET_MS,
    QUARTERS,
    RECORDS,
    STEPS_MS,
    Piece,
    Reach,
    SpanFamily,
    pieces,
)

_Values: TypeAlias = dict[str, Any]  # by the name that the query has for each

_BUCKET: Final = f"{bucket()} AS bucket_ms"
_COLUMN: Final = {LABEL: "labels", TAG: "tags"}
_REACH: Final = (
    "SELECT min(bucket_ms), max(bucket_ms), (SELECT folded_until_ms FROM fold) FROM rollups"
)
# Each quarter hour with a record once, by the index that begins with it: the roll-ups have as many
# rows of it as there are groups.
BUCKETS: Final = """
WITH RECURSIVE found (at) AS (
  (SELECT min(bucket_ms) FROM rollups WHERE bucket_ms >= %(low)s AND bucket_ms < %(high)s)
  UNION ALL
  SELECT (SELECT min(bucket_ms) FROM rollups WHERE bucket_ms > at AND bucket_ms < %(high)s)
  FROM found WHERE at IS NOT NULL
)
SELECT at FROM found WHERE at IS NOT NULL"""
_EVER_MS: Final = 2**63 - 1
_OF_CLOCK: Final = {name: f"clock.{name}" for name in TIMES}
_OF_WINDOW: Final = {"day": "day", "month": "left(day, 7)"}


def _of_usage(name: str) -> str:
    """A column of the record that a row corrects; see the same in `sqlite.usage`."""
    corrected = f"SELECT usage.{name} FROM records AS usage WHERE usage.id = records.adjusts"
    return f"CASE WHEN records.adjusts IS NULL THEN {name} ELSE coalesce(({corrected}), {name}) END"


# What only records have, beside labels and tags.
_BY_RECORD: Final[Mapping[str, str]] = {
    "end_user": "end_user",
    "source": _of_usage("source"),
    "outcome": _of_usage("outcome"),
}


def grouped(connection: Connection, ask: Ask) -> list[UsageRow]:
    """See `Reader.usage`."""
    flagged, names = FLAGGED in ask.names, [name for name in ask.names if name != FLAGGED]
    ask = msgspec.structs.replace(ask, names=names)
    _check_size(connection, ask)
    first = len(ask.by) + 1
    found: dict[Line, UsageRow] = {}
    for line in _sums(connection, ask):
        if any(line[first:]):
            sums = [None if value is None else int(value) for value in line[first:]]
            found[line[:first]] = grouping.usage_row(ask.by, names, line, sums)
    if flagged:
        counts = _flagged(connection, ask)
        for group, shown in found.items():
            shown[FLAGGED] = counts.get(group, 0)
    return list(found.values())


def _check_size(connection: Connection, ask: Ask) -> None:
    """Raises QuestionRefused for a seq that is not booked, and for too many records."""
    if ask.through is not None:
        grouping.check_booked(ask.through, _one(connection, "SELECT seq FROM cursor")[0])
    if grouping.counts_first(ask):
        values: _Values = {"most": grouping.RECORDS_MAX + 1}
        where = _ranged("started_at_ms", ask.from_ms, ask.to_ms, values)
        query = (
            f"SELECT count(*) FROM (SELECT 1 FROM records WHERE {where} LIMIT %(most)s) AS found"
        )
        grouping.check_count(_one(connection, query, values)[0])


def _sums(connection: Connection, ask: Ask) -> list[Line]:
    """The sums by group and currency, sorted by them."""
    values: _Values = {}
    if grouping.reads_records(ask):
        check_in_book(connection, 0, ask.from_ms, ask.to_ms)
        return _asked(connection, ask, _of_records(ask, values), values)
    for from_ms, to_ms in grouping.parts_of_quarters(ask):
        check_in_book(connection, 0, from_ms, to_ms)
    first_ms, last_ms, folded_ms = _one(connection, _REACH)
    reached = Reach(first_ms, folded_ms)
    windows = grouping.windows(reached, last_ms, ask)
    if windows is None:
        return _of_range(connection, reached, ask)
    rows = _of_windows(reached, windows, ask, values)
    return _asked(connection, ask, rows, values, _OF_WINDOW) if rows else []


def _of_range(connection: Connection, reached: Reach, ask: Ask) -> list[Line]:
    by_time = any(name in ask.by for name in TIMES)
    values: _Values = {}
    parts = pieces(ask.from_ms, ask.to_ms, Reach(reached.first_ms, 0) if by_time else reached)
    rows = " UNION ALL ".join(_piece(part, ask, by_time, values) for part in parts)
    return _asked(connection, ask, rows, values)


def _of_windows(reached: Reach, windows: Sequence[Window], ask: Ask, values: _Values) -> str:
    """A query for the groups and sums of each window, with its first day as `day`.

    Each table is read once for all windows, by the starts of the spans that they have of it.
    """
    queries: list[str] = []
    family = _family(ask)
    starts: dict[str, list[tuple[int, str]]] = {}
    for n, (day, from_ms, to_ms) in enumerate(windows):
        for part in pieces(from_ms, to_ms, reached):
            if part.table == RECORDS or part.from_ms is None or part.to_ms is None:
                values[f"day{n}"] = day
                rows = _piece(part, ask, False, values)
                queries.append(f"SELECT %(day{n})s::text AS day, part.* FROM ({rows}) AS part")
            else:
                spans = range(part.from_ms, part.to_ms, STEPS_MS[part.table])
                starts.setdefault(part.table, []).extend((ms, day) for ms in spans)
    for table, of_table in starts.items():
        values[f"{table}_ms"] = [ms for ms, _ in of_table]
        values[f"{table}_day"] = [day for _, day in of_table]
        queries.append(_by_day(table, ask, family, values))
    return " UNION ALL ".join(queries)


def _family(ask: Ask) -> SpanFamily:
    """The wide roll-ups that answer it with the fewest rows."""
    return KEYED if ask.names_keys() else KEYLESS


def _by_day(table: str, ask: Ask, family: SpanFamily, values: _Values) -> str:
    """A query for the groups and sums of one table, by the day that belongs to each span."""
    of_table = table if table == QUARTERS else family.table(table)
    days = (
        f"{of_table} JOIN unnest(%({table}_ms)s::bigint[], %({table}_day)s::text[]) "
        "AS clock (bucket_ms, day) USING (bucket_ms)"
    )
    if table != QUARTERS:
        days += f" JOIN {family.names} ON id = group_id"
    where = " AND ".join(_only(ask, values)) or "true"
    return f"SELECT day, {', '.join([*family.groups, *ask.names])} FROM {days} WHERE {where}"


def _piece(part: Piece, ask: Ask, with_bucket: bool, values: _Values) -> str:
    """A query for the groups and sums of one piece; a group may come more than once."""
    names, bucket = ask.names, "bucket_ms, " if with_bucket else ""
    family = _family(ask)
    columns = ", ".join([*family.groups, *names])
    if part.table == RECORDS:
        where = _ranged("{row}.started_at_ms", part.from_ms, part.to_ms, values)
        return _counted([_BUCKET] if with_bucket else [], names, where, groups=family.groups)
    where = _ranged("bucket_ms", part.from_ms, part.to_ms, values)
    only = _only(ask, values)
    if part.table == QUARTERS:
        where = " AND ".join([where, *only])
        return f"SELECT {bucket}{columns} FROM rollups WHERE {where}"
    assert not with_bucket, "a wide span has no quarter hour"
    sums = "".join(f", sum({name}) AS {name}" for name in names)
    if only:
        where += f" AND group_id IN (SELECT id FROM {family.names} WHERE {' AND '.join(only)})"
    return (
        f"SELECT {columns} FROM (SELECT group_id{sums} FROM {family.table(part.table)} "
        f"WHERE {where} GROUP BY group_id) AS spans JOIN {family.names} ON id = group_id"
    )


def _of_records(ask: Ask, values: _Values) -> str:
    """A query for the records of the range; groups that only records have are called g0, g1 …"""
    own = [
        f"{expression} AS g{n}"
        for n, name in enumerate(ask.by)
        if (expression := _expression(name, n, values)) is not None
    ]
    table = "records" if ask.through is None else "book"
    return _counted([*own, _BUCKET], ask.names, _chosen(ask, "{row}", values), table)


def _counted(
    extra: Sequence[str],
    names: Sequence[str],
    where: str,
    table: str = "records",
    groups: Sequence[str] = GROUPS,
) -> str:
    """A query for the records themselves, and for what late prices moved of them.

    `table` is `book` if `where` asks for a `seq`.
    """
    sums = [(name, expression) for name, expression in SUMS if name in names]
    return counted(Columns(extra, groups, sums), where, IN_THE_BOOK, table)


def _expression(name: str, n: int, values: _Values) -> str | None:
    """What a group is in a record, if roll-ups do not have it; `values` takes its name."""
    if name in IN_ROLLUPS:
        return None
    found = grouping.named(name)
    if found is None:
        return _BY_RECORD[name]
    values[f"name{n}"] = clean(found[1])
    return json_value(f"records.{_COLUMN[found[0]]}", f"%(name{n})s")


def _chosen(ask: Ask, row: str, values: _Values) -> str:
    """The condition that a record is asked for."""
    where = _ranged(f"{row}.started_at_ms", ask.from_ms, ask.to_ms, values)
    if ask.through is not None:
        values["through"] = ask.through
        where += f" AND {row}.seq <= %(through)s"
    return where + "".join(f" AND {row}.{term}" for term in _only(ask, values))


def _only(ask: Ask, values: _Values) -> list[str]:
    """The conditions that columns have the one value that is asked for."""
    terms = []
    for column, value in ask.only():
        values[f"only_{column}"] = clean(value)
        terms.append(f"{column} = %(only_{column})s")
    return terms


def _asked(
    connection: Connection,
    ask: Ask,
    rows: str,
    values: _Values,
    times: Mapping[str, str] | None = None,
) -> list[Line]:
    """The answer to the query for `rows`, grouped by the names and the currency.

    `times` says what the local times are in `rows`; None: they follow from `bucket_ms`.
    """
    clock = _clock(connection, ask, values) if times is None else ""
    times = _OF_CLOCK if times is None else times
    groups = [
        f'{times.get(name) or IN_ROLLUPS.get(name, f"g{n}")} COLLATE "C" AS h{n}'
        for n, name in enumerate(ask.by)
    ]
    sums = [f"sum({name})" for name in ask.names]
    only = " AND ".join(_only(ask, values))
    where = f"WHERE {only} " if only else ""
    keys = range(1, len(ask.by) + 2)
    query = (
        f"SELECT {', '.join([*groups, 'currency', *sums])} FROM ({rows}) AS source {clock}{where}"
        f"GROUP BY {', '.join(map(str, keys))} "
        f"ORDER BY {', '.join(f'{key} NULLS FIRST' for key in keys)}"
    )
    return connection.execute(query.encode(), values).fetchall()


def _clock(connection: Connection, ask: Ask, values: _Values) -> str:
    """Joins the local times of each quarter hour with a record; empty if none is asked for.

    The zone's rules are in Python, and those of the server may be of another year.
    """
    times = [name for name in TIMES if name in ask.by]
    if not times:
        return ""
    low = 0 if ask.from_ms is None else ask.from_ms // BUCKET_MS * BUCKET_MS
    bounds = {
        "low": -_EVER_MS if ask.from_ms is None else low,
        "high": _EVER_MS if ask.to_ms is None else ask.to_ms,
    }
    buckets = [at for (at,) in connection.execute(BUCKETS, _within(bounds))]
    values["clock_ms"] = buckets
    for name in times:
        values[f"clock_{name}"] = [grouping.local_time(name, at, ask.zone) for at in buckets]
    arrays = "".join(f", %(clock_{name})s::text[]" for name in times)
    return (
        f"JOIN unnest(%(clock_ms)s::bigint[]{arrays}) AS clock (bucket_ms, {', '.join(times)}) "
        "USING (bucket_ms) "
    )


def _flagged(connection: Connection, ask: Ask) -> dict[Line, int]:
    """How many requests of each line have a record that is flagged `inconsistent`.

    A request with a late price counts in the line of the price's currency.
    """
    values: _Values = {}
    where = _chosen(ask, "records", values)
    own = [
        f"{_expression(name, n, values) or IN_ROLLUPS[name]} AS g{n}"
        for n, name in enumerate(ask.by)
        if name not in TIMES
    ]
    by_then = "" if ask.through is None else "AND p.seq <= %(through)s "
    late = (
        "SELECT p.currency FROM book AS p WHERE p.adjusts = records.id AND p.cost_nano IS NOT NULL"
        f" {by_then}ORDER BY p.seq LIMIT 1"
    )
    columns = [*own, _BUCKET, f"coalesce(currency, ({late})) AS currency"]
    table = source_of_records(connection) if ask.through is None else "book AS records"
    rows = (
        f"SELECT {', '.join(columns)} FROM {table} WHERE inconsistent = 1 AND kind = 'usage' "
        f"AND {where}"
    )
    groups = [f"clock.{name}" if name in TIMES else f"g{n}" for n, name in enumerate(ask.by)]
    query = (
        f"SELECT {', '.join([*groups, 'source.currency', 'count(*)'])} FROM ({rows}) AS source "
        f"{_clock(connection, ask, values)}"
        f"GROUP BY {', '.join(str(n + 1) for n in range(len(ask.by) + 1))}"
    )
    found = {row[:-1]: int(row[-1]) for row in connection.execute(query.encode(), values)}
    if not grouping.reads_records(ask):
        for line, count in _archived_flags(connection, ask):
            found[line] = found.get(line, 0) + count
    return found


def _archived_flags(connection: Connection, ask: Ask) -> list[tuple[Line, int]]:
    """The same of requests whose records are archived."""
    values: _Values = {}
    clock = _clock(connection, ask, values)
    where = [_ranged("bucket_ms", ask.from_ms, ask.to_ms, values), *_only(ask, values)]
    groups = [_OF_CLOCK.get(name) or IN_ROLLUPS[name] for name in ask.by]
    source = f"archived_sums {clock}WHERE {' AND '.join(where)}"
    return archived_flags(connection, groups, source, values)


def _ranged(column: str, from_ms: int | None, to_ms: int | None, values: _Values) -> str:
    """The condition that a column lies in [from_ms, to_ms); its values go to `values`."""
    terms = []
    for sign, ms in ((">=", from_ms), ("<", to_ms)):
        if ms is not None:
            name = f"ms{len(values)}"
            values[name] = max(-_EVER_MS, min(_EVER_MS, ms))
            terms.append(f"{column} {sign} %({name})s")
    return " AND ".join(terms) or "true"


def _within(bounds: _Values) -> _Values:
    return {name: max(-_EVER_MS, min(_EVER_MS, ms)) for name, ms in bounds.items()}


def _one(connection: Connection, query: str, values: _Values | None = None) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None, "it is one row"
    return row
