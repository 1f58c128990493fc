"""Sums over the book in SQLite, grouped by any names that records have.

They are read from the widest roll-ups that have the names. For other names they are read from the
records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from proxy.ledger import grouping
from proxy.ledger.grouping import FLAGGED, IN_ROLLUPS, TIMES, Ask, Line
from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.reading import LABEL, TAG, UsageRow
from proxy.ledger.spans import BUCKET_MS, Reach, pieces
from proxy.ledger.sqlite.archive import archived_flags, check_in_book
from proxy.ledger.sqlite.spans import buckets, family_of, halves, ranged, source, source_of_windows
from proxy.ledger.sqlite.sums import GROUPS, HALF, SUMS


def _of_usage(name: str) -> str:
    """A column of the record that a row corrects.

    An adjustment counts in the group of its record, even if it says something else itself.
    """
    corrected = f"SELECT usage.{name} FROM records AS usage WHERE usage.id = records.adjusts"
    return f"CASE WHEN records.adjusts IS NULL THEN {name} ELSE ifnull(({corrected}), {name}) END"


# What `by` may name that only records have, with its expression.
_BY_RECORD = {
    "end_user": "end_user",
    "source": _of_usage("source"),
    "outcome": _of_usage("outcome"),
}
# Of a label and of a tag: the value of a name that is bound.
_NAMED = {
    LABEL: "(SELECT value FROM json_each(records.labels) WHERE key = ?)",
    TAG: "(SELECT value FROM json_each(records.tags) WHERE key = ?)",
}


# What the times of a window are in `source_of_windows`.
_OF_WINDOW = {"day": "day", "month": "substr(day, 1, 7)"}


def grouped(connection: sqlite3.Connection, reached: Reach, ask: Ask) -> list[UsageRow]:
    """See `Reader.usage`."""
    zone, by = ask.zone, ask.by
    flagged, names = FLAGGED in ask.names, [name for name in ask.names if name != FLAGGED]
    ask = msgspec.structs.replace(ask, names=names)
    _check_size(connection, ask)
    for name in TIMES:
        connection.create_function(
            f"zone_{name}",
            1,
            lambda ms, name=name: grouping.local_time(name, ms, zone),
            deterministic=True,
        )
    try:
        rows = _sums(connection, reached, ask)
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow":
            raise
        # Counts of wide spans that only together are beyond 63 bits: quarter hours are halved.
        rows = _sums(connection, msgspec.structs.replace(reached, folded_until_ms=0), ask)
    first = len(by) + 1
    found = {
        row[:first]: grouping.usage_row(by, names, row, _whole(row[first:]))
        for row in rows
        if any(row[first:])
    }
    if flagged:
        counts = _flagged(connection, ask)
        for line, shown in found.items():
            shown[FLAGGED] = counts.get(line, 0)
    return list(found.values())


def _check_size(connection: sqlite3.Connection, ask: Ask) -> None:
    """Raises QuestionRefused for a seq that is not booked, and for too many records."""
    (head,) = connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()
    grouping.check_booked(ask.through, head)
    if grouping.counts_first(ask):
        where, bounds = ranged("started_at_ms", ask.from_ms, ask.to_ms)
        query = f"SELECT count(*) FROM (SELECT 1 FROM records WHERE {where} LIMIT ?)"
        (count,) = connection.execute(query, [*bounds, grouping.RECORDS_MAX + 1]).fetchone()
        grouping.check_count(count)


def _chosen(ask: Ask, row: str) -> tuple[str, list[str | int]]:
    """The condition that a record is asked for, and its values."""
    where, bounds = ranged(f"{row}.started_at_ms", ask.from_ms, ask.to_ms)
    values: list[str | int] = [*bounds]
    if ask.through is not None:
        where += f" AND {row}.seq <= ?"
        values.append(ask.through)
    for column, value in ask.only():
        where += f" AND {row}.{column} = ?"
        values.append(value)
    return where, values


def _flagged(connection: sqlite3.Connection, ask: Ask) -> dict[Line, int]:
    """How many requests of each line have a record that is flagged `inconsistent`.

    A request with a late price counts in the line of the price's currency.
    """
    where, bounds = _chosen(ask, "records")
    named = [_named(name) for name in ask.by]
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS}"
    times = {name: f"zone_{name}({bucket})" for name in TIMES}
    groups = [
        times.get(name, IN_ROLLUPS.get(name, name)) if value is None else value[0]
        for name, value in zip(ask.by, named, strict=True)
    ]
    late = (
        "SELECT p.currency FROM records AS p WHERE p.adjusts = records.id AND p.cost_nano IS NOT"
        " NULL"
    )
    late_bounds = []
    if ask.through is not None:
        late += " AND p.seq <= ?"
        late_bounds.append(ask.through)
    columns = ", ".join([*groups, f"ifnull(currency, ({late} ORDER BY p.seq LIMIT 1))", "count(*)"])
    keys = ", ".join(str(n + 1) for n in range(len(ask.by) + 1))
    query = (
        f"SELECT {columns} FROM records WHERE inconsistent = 1 AND kind = 'usage' AND {where} "
        f"GROUP BY {keys}"
    )
    values = [value[1] for value in named if value is not None]
    rows = connection.execute(query, [*values, *late_bounds, *bounds])
    found = {row[:-1]: int(row[-1]) for row in rows}
    if not grouping.reads_records(ask):
        of_buckets = [
            f"zone_{name}(bucket_ms)" if name in TIMES else IN_ROLLUPS[name] for name in ask.by
        ]
        span = ranged("bucket_ms", ask.from_ms, ask.to_ms)
        for line, count in archived_flags(connection, of_buckets, span, ask.only()):
            found[line] = found.get(line, 0) + count
    return found


def _sums(connection: sqlite3.Connection, reached: Reach, ask: Ask) -> list[Line]:
    """The sums by group and currency, sorted by them."""
    if grouping.reads_records(ask):
        check_in_book(connection, 0, ask.from_ms, ask.to_ms)
        return _asked(connection, ask, *_record_source(ask))
    for from_ms, to_ms in grouping.parts_of_quarters(ask):
        check_in_book(connection, 0, from_ms, to_ms)
    (last_ms,) = connection.execute("SELECT max(bucket_ms) FROM rollups").fetchone()
    windows = grouping.windows(reached, last_ms, ask)
    if windows is None:
        return _of_range(connection, reached, ask)
    rows, values = source_of_windows(reached, windows, ask)
    return _asked(connection, ask, rows, values, _OF_WINDOW) if rows else []


def _of_range(connection: sqlite3.Connection, reached: Reach, ask: Ask) -> list[Line]:
    by_time = any(name in ask.by for name in TIMES)
    rows, bounds = source(
        pieces(ask.from_ms, ask.to_ms, Reach(reached.first_ms, 0) if by_time else reached),
        ask,
        family_of(reached, ask),
        with_bucket=by_time,
        carried=reached.carried,
    )
    return _asked(connection, ask, rows, bounds)


def _asked(
    connection: sqlite3.Connection,
    ask: Ask,
    rows: str,
    bounds: Sequence[str | int],
    times: Mapping[str, str] | None = None,
) -> list[Line]:
    """The answer to the query for `rows`, grouped by the names and the currency.

    `times` says what the local times are in `rows`; None: they follow from `bucket_ms`.
    """
    clock, clock_bounds = _clock_source(ask) if times is None else ("", [])
    named = IN_ROLLUPS | dict(times or {})
    groups = [f"{named.get(name, f'g{n}')} AS g{n}" for n, name in enumerate(ask.by)]
    sums = [f"sum({name}_h), sum({name}_l)" for name in ask.names]
    keys = ", ".join(str(n + 1) for n in range(len(ask.by) + 1))
    query = (
        f"WITH source AS ({rows}){f', clock AS MATERIALIZED ({clock})' if clock else ''} SELECT "
        f"{', '.join([*groups, 'currency', *sums])} "
        f"FROM source {'JOIN clock USING (bucket_ms)' if clock else ''} "
        f"GROUP BY {keys} ORDER BY {keys}"
    )
    return connection.execute(query, [*bounds, *clock_bounds]).fetchall()


def _clock_source(ask: Ask) -> tuple[str, list[int]]:
    """A query for the local times of each quarter hour with a record; empty if not needed.

    The zone's rules are in Python, and this asks them only once a quarter hour.
    """
    times = [f"zone_{name}(bucket_ms) AS {name}" for name in TIMES if name in ask.by]
    if not times:
        return "", []
    first_ms = None if ask.from_ms is None else ask.from_ms // BUCKET_MS * BUCKET_MS
    found, bounds = buckets(first_ms, ask.to_ms)
    return f"SELECT bucket_ms, {', '.join(times)} FROM ({found})", bounds


def _record_source(ask: Ask) -> tuple[str, list[str | int]]:
    """A query for the records of the range, in the form of `source`.

    Groups that only records have are called g0, g1 …
    """
    where, bounds = _chosen(ask, "{row}")
    values: list[str | int] = []
    own = []
    for n, name in enumerate(ask.by):
        value = _named(name)
        if value is not None:
            own.append(f"{value[0]} AS g{n}")
            values.append(value[1])
        elif name not in IN_ROLLUPS:
            own.append(f"{_BY_RECORD[name]} AS g{n}")
    own.append(f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms")
    sums = [(name, expression) for name, expression in SUMS if name in ask.names]
    rows = counted(Columns(own, GROUPS, sums, halves), where)
    terms = " AND ".join(f"{column} = ?" for column, _ in ask.only()) or "1"
    only = [value for _, value in ask.only()]
    return f"SELECT * FROM ({rows}) WHERE {terms}", [*[*values, *bounds] * 2, *only]


def _named(name: str) -> tuple[str, str] | None:
    """The expression for a label or tag, and its name; None for any other group."""
    found = grouping.named(name)
    return None if found is None else (_NAMED[found[0]], found[1])


def _whole(halved: Sequence[str | int | None]) -> list[int | None]:
    """The sums that a line has in halves."""
    return [
        high * HALF + low if isinstance(high, int) and isinstance(low, int) else None
        for high, low in zip(halved[::2], halved[1::2], strict=True)
    ]
