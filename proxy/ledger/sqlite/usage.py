"""Sums over the book, grouped by any names that records have.

They are read from the widest roll-ups that have the names. For other names they are read from the
records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

import msgspec

from proxy.core.calendar import Per, window
from proxy.ledger import QuestionRefused
from proxy.ledger.reading import GROUPED_BY, LABEL, RECORDS_MAX, TAG, UsageRow, groups
from proxy.ledger.sqlite.late_prices import counted
from proxy.ledger.sqlite.spans import Reach, halves, pieces, ranged, source
from proxy.ledger.sqlite.sums import BUCKET_MS, GROUPS, HALF, MONEY, SUMS

# Counted from the records: they are few, and have an index of their own.
FLAGGED = "inconsistent_requests"
# About ten years. Days are asked for one by one; with more of them, a clock was far off once.
DAYS_MAX = 4_000


def _of_usage(name: str) -> str:
    """A column of the record that a row corrects.

    An adjustment counts in the group of its record, even if it says something else itself.
    """
    corrected = f"SELECT usage.{name} FROM records AS usage WHERE usage.id = records.adjusts"
    return f"CASE WHEN records.adjusts IS NULL THEN {name} ELSE ifnull(({corrected}), {name}) END"


# What `by` may name beside `label:NAME`, with its column or expression. These are in the roll-ups,
# those of `_BY_RECORD` only in the records.
_BY = {
    "team": "team",
    "key": "key_id",
    "model": "model_requested",
    "upstream": "upstream",
    "month": "month",
    "day": "day",
    "hour": "hour",
}
_TIMES = ("month", "day", "hour")
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

# The names in their order, the currency, then each sum as a high and a low half.
_Row = tuple[str | int | None, ...]


class Ask(msgspec.Struct, frozen=True):
    """What `Reader.usage` is asked."""

    by: Sequence[str]
    from_ms: int | None
    to_ms: int | None
    zone: tzinfo
    names: Sequence[str]
    team: str | None = None
    through: int | None = None


def check(by: Sequence[str]) -> None:
    """Raise QuestionRefused for a name that cannot be grouped by."""
    unknown = [name for name in by if not groups(name)]
    if unknown:
        raise QuestionRefused(
            f"cannot group by {', '.join(unknown)}: use any of {', '.join(GROUPED_BY)} "
            "label:NAME and tag:NAME"
        )


def grouped(connection: sqlite3.Connection, reached: Reach, ask: Ask) -> list[UsageRow]:
    """See `Reader.usage`."""
    zone, by = ask.zone, ask.by
    flagged, names = FLAGGED in ask.names, [name for name in ask.names if name != FLAGGED]
    ask = msgspec.structs.replace(ask, names=names)
    _check_size(connection, ask)
    connection.create_function("zone_month", 1, lambda ms: _month(ms, zone), deterministic=True)
    connection.create_function(
        "zone_day", 1, lambda ms: _local(ms, zone).date().isoformat(), deterministic=True
    )
    connection.create_function("zone_hour", 1, lambda ms: _local_hour(ms, zone), deterministic=True)
    rows: list[_Row] | None
    try:
        rows = _sums(connection, reached, ask)
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow":
            raise
        rows = None
    if rows is None or _absurd(rows, len(by) + 1, names):
        rows = _sums(connection, Reach(reached.first_ms, 0), ask)
    found = {
        row[: len(by) + 1]: _usage_row(by, names, row) for row in rows if any(row[len(by) + 1 :])
    }
    if flagged:
        counts = _flagged(connection, ask)
        for line, shown in found.items():
            shown[FLAGGED] = counts.get(line, 0)
    return list(found.values())


def _check_size(connection: sqlite3.Connection, ask: Ask) -> None:
    """Raises QuestionRefused for a seq that is not booked, and for too many records."""
    if ask.through is not None:
        (head,) = connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()
        if ask.through > head:
            raise QuestionRefused(f"the book ends at seq {head}, before {ask.through}")
    elif not any(name.startswith(TAG) for name in ask.by):
        return
    where, bounds = ranged("started_at_ms", ask.from_ms, ask.to_ms)
    query = f"SELECT count(*) FROM (SELECT 1 FROM records WHERE {where} LIMIT ?)"
    (count,) = connection.execute(query, [*bounds, RECORDS_MAX + 1]).fetchone()
    if count > RECORDS_MAX:
        raise QuestionRefused(
            f"tags and a seq are read from the records, and this range has more than"
            f" {RECORDS_MAX:,}: ask for less of it at once"
        )


def _chosen(ask: Ask, row: str) -> tuple[str, list[str | int]]:
    """The condition that a record is asked for, and its values."""
    where, bounds = ranged(f"{row}.started_at_ms", ask.from_ms, ask.to_ms)
    values: list[str | int] = [*bounds]
    for term, value in ((f"{row}.seq <= ?", ask.through), (f"{row}.team = ?", ask.team)):
        if value is not None:
            where += f" AND {term}"
            values.append(value)
    return where, values


def _flagged(connection: sqlite3.Connection, ask: Ask) -> dict[_Row, int]:
    """How many requests of each line have a record that is flagged `inconsistent`.

    A request with a late price counts in the line of the price's currency.
    """
    where, bounds = _chosen(ask, "records")
    named = [_named(name) for name in ask.by]
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS}"
    times = {name: f"zone_{name}({bucket})" for name in _TIMES}
    groups = [
        times.get(name, _BY.get(name, name)) if value is None else value[0]
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
    found = connection.execute(query, [*values, *late_bounds, *bounds])
    return {row[:-1]: int(row[-1]) for row in found}


def _absurd(rows: Sequence[_Row], first: int, names: Sequence[str]) -> bool:
    """Whether counts are so high that a wide span may have reached its bound.

    Only a vendor's mistake makes them so high. Quarter hours then give the better answer. Money is
    not looked at: it has no such bound.
    """
    highs = [first + 2 * n for n, name in enumerate(names) if name not in MONEY]
    return any(
        isinstance(high := row[place], int) and abs(high) >= HALF // 4
        for row in rows
        for place in highs
    )


def _sums(connection: sqlite3.Connection, reached: Reach, ask: Ask) -> list[_Row]:
    """The sums by group and currency, sorted by them."""
    by = ask.by
    if ask.through is not None or not all(name in _BY for name in by):
        return _asked(connection, ask, *_record_source(ask))
    windows = None
    if "hour" not in by and ("day" in by or "month" in by):
        windows = _windows(connection, reached, ask, Per.DAY if "day" in by else Per.MONTH)
    if windows is not None:
        return _by_window(connection, reached, ask, windows)
    by_time = any(name in by for name in _TIMES)
    rows, times = source(
        pieces(ask.from_ms, ask.to_ms, Reach(reached.first_ms, 0) if by_time else reached),
        ask.names,
        with_bucket=by_time,
    )
    return _asked(connection, ask, rows, times)


def _windows(
    connection: sqlite3.Connection, reached: Reach, ask: Ask, per: Per
) -> list[tuple[str, int, int]] | None:
    """The local days or months of the range that can have records, each with its part of it.

    Each is named by its first day in the range. None: there are no wide roll-ups, or too many days.
    """
    (last_ms,) = connection.execute("SELECT max(bucket_ms) FROM rollups").fetchone()
    if (
        reached.folded_until_ms == 0
        or reached.first_ms is None
        or last_ms - reached.first_ms > DAYS_MAX * 86_400_000
    ):
        return None
    from_ms, to_ms, first_ms = ask.from_ms, ask.to_ms, reached.first_ms
    at_ms = first_ms if from_ms is None else max(from_ms, first_ms)
    end_ms = last_ms + BUCKET_MS if to_ms is None else min(to_ms, last_ms + BUCKET_MS)
    found: list[tuple[str, int, int]] = []
    while at_ms < end_ms:
        until_ms = window(per, at_ms, ask.zone).end_ms
        assert until_ms is not None, "a day and a month end"
        found.append((_local(at_ms, ask.zone).date().isoformat(), at_ms, min(until_ms, end_ms)))
        at_ms = until_ms
    return found


def _by_window(
    connection: sqlite3.Connection,
    reached: Reach,
    ask: Ask,
    windows: Sequence[tuple[str, int, int]],
) -> list[_Row]:
    """The sums of each day or month, from the roll-ups within it."""
    by = ask.by
    others = [name for name in by if name not in _TIMES]
    found: list[_Row] = []
    for day, start_ms, end_ms in windows:
        rows, bounds = source(pieces(start_ms, end_ms, reached), ask.names)
        times = {"day": day, "month": day[:7]}
        part = msgspec.structs.replace(ask, by=others, from_ms=start_ms, to_ms=end_ms)
        for row in _asked(connection, part, rows, bounds):
            groups = iter(row)
            found.append((*(times.get(name) or next(groups) for name in by), *groups))
    return sorted(found, key=lambda row: [(name is not None, name) for name in row[: len(by) + 1]])


def _asked(
    connection: sqlite3.Connection, ask: Ask, rows: str, bounds: Sequence[str | int]
) -> list[_Row]:
    """The answer to the query for `rows`, grouped by the names and the currency."""
    clock, clock_bounds = _clock_source(ask)
    groups = [f"{_BY.get(name, f'g{n}')} AS g{n}" for n, name in enumerate(ask.by)]
    sums = [f"sum({name}_h), sum({name}_l)" for name in ask.names]
    keys = ", ".join(str(n + 1) for n in range(len(ask.by) + 1))
    query = (
        f"WITH source AS ({rows}){f', clock AS MATERIALIZED ({clock})' if clock else ''} SELECT "
        f"{', '.join([*groups, 'currency', *sums])} "
        f"FROM source {'JOIN clock USING (bucket_ms)' if clock else ''} "
        f"{'' if ask.team is None else 'WHERE team = ? '}GROUP BY {keys} ORDER BY {keys}"
    )
    team = [] if ask.team is None else [ask.team]
    return connection.execute(query, [*bounds, *clock_bounds, *team]).fetchall()


def _clock_source(ask: Ask) -> tuple[str, list[int]]:
    """A query for the local times of each quarter hour with a record; empty if not needed.

    The zone's rules are in Python, and this asks them only once a quarter hour.
    """
    times = [f"zone_{name}(bucket_ms) AS {name}" for name in _TIMES if name in ask.by]
    if not times:
        return "", []
    where, bounds = ranged(
        "bucket_ms",
        None if ask.from_ms is None else ask.from_ms // BUCKET_MS * BUCKET_MS,
        ask.to_ms,
    )
    return (
        f"SELECT bucket_ms, {', '.join(times)} FROM (SELECT DISTINCT bucket_ms FROM rollups WHERE "
        f"{where})",
        bounds,
    )


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
        elif name not in _BY:
            own.append(f"{_BY_RECORD[name]} AS g{n}")
    own.append(f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms")
    sums = [(name, expression) for name, expression in SUMS if name in ask.names]
    return counted(own, GROUPS, sums, halves, where), [*values, *bounds] * 2


def _named(name: str) -> tuple[str, str] | None:
    """The expression for a label or tag, and its name; None for any other group."""
    for prefix, expression in _NAMED.items():
        if name.startswith(prefix):
            return expression, name[len(prefix) :]
    return None


def _usage_row(
    by: Sequence[str], names: Sequence[str], row: Sequence[str | int | None]
) -> UsageRow:
    groups = dict(zip(by, row, strict=False))
    if "hour" in groups:
        groups["hour"] = str(groups["hour"]).partition(" ")[2]
    sums: UsageRow = {}
    values = row[len(by) + 1 :]
    for n, name in enumerate(names):
        high, low = values[2 * n : 2 * n + 2]
        sums[name] = high * HALF + low if isinstance(high, int) and isinstance(low, int) else None
        if name == "charge_nano":
            sums["currency"] = row[len(by)]
    return {**groups, **sums, "currency": row[len(by)]}


def _local(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, zone)


def _month(ms: int, zone: tzinfo) -> str:
    return _local(ms, zone).date().isoformat()[:7]


def _local_hour(ms: int, zone: tzinfo) -> str:
    """The local hour of a quarter hour: a number to sort by, then ISO text with the offset.

    So the hour that a clock change repeats is shown as two hours.
    """
    local = _local(ms, zone)
    hour = local.replace(minute=0, second=0, tzinfo=timezone(local.utcoffset() or timedelta()))
    return f"{int(hour.timestamp()) * 1000:015d} {hour.isoformat(timespec='seconds')}"
