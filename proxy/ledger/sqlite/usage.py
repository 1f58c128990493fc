"""Sums over the book, grouped by any names that records have.

They are read from the widest roll-ups that have the names. For other names they are read from the
records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from proxy.core.calendar import Per, window
from proxy.ledger import LedgerError
from proxy.ledger.reading import GROUPED_BY, LABEL, UsageRow, groups
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
    "day": "day",
    "hour": "hour",
}
_BY_RECORD = {
    "end_user": "end_user",
    "source": _of_usage("source"),
    "outcome": _of_usage("outcome"),
}
_LABEL_VALUE = "(SELECT value FROM json_each(records.labels) WHERE key = ?)"

# The names in their order, the currency, then each sum as a high and a low half.
_Row = tuple[str | int | None, ...]


def check(by: Sequence[str]) -> None:
    """Raise LedgerError for a name that cannot be grouped by."""
    unknown = [name for name in by if not groups(name)]
    if unknown:
        raise LedgerError(
            f"cannot group by {', '.join(unknown)}: use any of {', '.join(GROUPED_BY)} "
            "and label:NAME"
        )


def grouped(
    connection: sqlite3.Connection,
    reached: Reach,
    by: Sequence[str],
    from_ms: int | None,
    to_ms: int | None,
    zone: tzinfo,
    names: Sequence[str],
) -> list[UsageRow]:
    """See `Reader.usage`."""
    flagged, names = FLAGGED in names, [name for name in names if name != FLAGGED]
    connection.create_function(
        "zone_day", 1, lambda ms: _local(ms, zone).date().isoformat(), deterministic=True
    )
    connection.create_function("zone_hour", 1, lambda ms: _local_hour(ms, zone), deterministic=True)
    rows: list[_Row] | None
    try:
        rows = _sums(connection, reached, by, from_ms, to_ms, zone, names)
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow":
            raise
        rows = None
    if rows is None or _absurd(rows, len(by) + 1, names):
        rows = _sums(connection, Reach(reached.first_ms, 0), by, from_ms, to_ms, zone, names)
    found = {
        row[: len(by) + 1]: _usage_row(by, names, row) for row in rows if any(row[len(by) + 1 :])
    }
    if flagged:
        counts = _flagged(connection, by, from_ms, to_ms)
        for line, shown in found.items():
            shown[FLAGGED] = counts.get(line, 0)
    return list(found.values())


def _flagged(
    connection: sqlite3.Connection, by: Sequence[str], from_ms: int | None, to_ms: int | None
) -> dict[_Row, int]:
    """How many requests of each line have a record that is flagged `inconsistent`.

    A request with a late price counts in the line of the price's currency.
    """
    where, bounds = ranged("records.started_at_ms", from_ms, to_ms)
    labels = [name[len(LABEL) :] for name in by if name.startswith(LABEL)]
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS}"
    times = {"day": f"zone_day({bucket})", "hour": f"zone_hour({bucket})"}
    groups = [
        _LABEL_VALUE if name.startswith(LABEL) else times.get(name, _BY.get(name, name))
        for name in by
    ]
    late = (
        "SELECT p.currency FROM records AS p WHERE p.adjusts = records.id AND p.cost_nano IS NOT "
        "NULL ORDER BY p.seq LIMIT 1"
    )
    columns = ", ".join([*groups, f"ifnull(currency, ({late}))", "count(*)"])
    keys = ", ".join(str(n + 1) for n in range(len(by) + 1))
    query = (
        f"SELECT {columns} FROM records WHERE inconsistent = 1 AND kind = 'usage' AND {where} "
        f"GROUP BY {keys}"
    )
    return {row[:-1]: int(row[-1]) for row in connection.execute(query, [*labels, *bounds])}


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


def _sums(
    connection: sqlite3.Connection,
    reached: Reach,
    by: Sequence[str],
    from_ms: int | None,
    to_ms: int | None,
    zone: tzinfo,
    names: Sequence[str],
) -> list[_Row]:
    """The sums by group and currency, sorted by them."""
    if not all(name in _BY for name in by):
        rows, bounds = _record_source(by, from_ms, to_ms, names)
        return _asked(connection, by, rows, bounds, from_ms, to_ms, names)
    days = (
        _days(connection, reached, from_ms, to_ms, zone)
        if "day" in by and "hour" not in by
        else None
    )
    if days is not None:
        return _by_day(connection, reached, by, days, names)
    by_time = "day" in by or "hour" in by
    rows, times = source(
        pieces(from_ms, to_ms, Reach(reached.first_ms, 0) if by_time else reached),
        names,
        with_bucket=by_time,
    )
    return _asked(connection, by, rows, times, from_ms, to_ms, names)


def _days(
    connection: sqlite3.Connection,
    reached: Reach,
    from_ms: int | None,
    to_ms: int | None,
    zone: tzinfo,
) -> list[tuple[str, int, int]] | None:
    """The local days of the range that can have records, each with its part of the range.

    None: there are no wide roll-ups, or too many days.
    """
    (last_ms,) = connection.execute("SELECT max(bucket_ms) FROM rollups").fetchone()
    if (
        reached.folded_until_ms == 0
        or reached.first_ms is None
        or last_ms - reached.first_ms > DAYS_MAX * 86_400_000
    ):
        return None
    at_ms = reached.first_ms if from_ms is None else max(from_ms, reached.first_ms)
    end_ms = last_ms + BUCKET_MS if to_ms is None else min(to_ms, last_ms + BUCKET_MS)
    days: list[tuple[str, int, int]] = []
    while at_ms < end_ms:
        until_ms = window(Per.DAY, at_ms, zone).end_ms
        assert until_ms is not None, "a day ends"
        days.append((_local(at_ms, zone).date().isoformat(), at_ms, min(until_ms, end_ms)))
        at_ms = until_ms
    return days


def _by_day(
    connection: sqlite3.Connection,
    reached: Reach,
    by: Sequence[str],
    days: Sequence[tuple[str, int, int]],
    names: Sequence[str],
) -> list[_Row]:
    """The sums of each day, from the roll-ups within it."""
    place = by.index("day")
    others = [name for name in by if name != "day"]
    found: list[_Row] = []
    for day, start_ms, end_ms in days:
        rows, bounds = source(pieces(start_ms, end_ms, reached), names)
        found += (
            (*row[:place], day, *row[place:])
            for row in _asked(connection, others, rows, bounds, start_ms, end_ms, names)
        )
    return sorted(found, key=lambda row: [(name is not None, name) for name in row[: len(by) + 1]])


def _asked(
    connection: sqlite3.Connection,
    by: Sequence[str],
    rows: str,
    bounds: Sequence[str | int],
    from_ms: int | None,
    to_ms: int | None,
    names: Sequence[str],
) -> list[_Row]:
    """The answer to the query for `rows`, grouped by the names and the currency."""
    clock, clock_bounds = _clock_source(by, from_ms, to_ms)
    groups = [f"{_BY.get(name, f'g{n}')} AS g{n}" for n, name in enumerate(by)]
    sums = [f"sum({name}_h), sum({name}_l)" for name in names]
    keys = ", ".join(str(n + 1) for n in range(len(by) + 1))
    query = (
        f"WITH source AS ({rows}){f', clock AS MATERIALIZED ({clock})' if clock else ''} SELECT "
        f"{', '.join([*groups, 'currency', *sums])} "
        f"FROM source {'JOIN clock USING (bucket_ms)' if clock else ''} GROUP BY {keys} ORDER BY "
        f"{keys}"
    )
    return connection.execute(query, [*bounds, *clock_bounds]).fetchall()


def _clock_source(
    by: Sequence[str], from_ms: int | None, to_ms: int | None
) -> tuple[str, list[int]]:
    """A query for the local day and hour of each quarter hour with a record; empty if not needed.

    The zone's rules are in Python, and this asks them only once a quarter hour.
    """
    times = [f"zone_{name}(bucket_ms) AS {name}" for name in ("day", "hour") if name in by]
    if not times:
        return "", []
    where, bounds = ranged(
        "bucket_ms", None if from_ms is None else from_ms // BUCKET_MS * BUCKET_MS, to_ms
    )
    return (
        f"SELECT bucket_ms, {', '.join(times)} FROM (SELECT DISTINCT bucket_ms FROM rollups WHERE "
        f"{where})",
        bounds,
    )


def _record_source(
    by: Sequence[str], from_ms: int | None, to_ms: int | None, names: Sequence[str]
) -> tuple[str, list[str | int]]:
    """A query for the records of the range, in the form of `source`.

    Groups that only records have are called g0, g1 …
    """
    where, bounds = ranged("{row}.started_at_ms", from_ms, to_ms)
    labels = [name[len(LABEL) :] for name in by if name.startswith(LABEL)]
    own = [
        f"{_LABEL_VALUE if name.startswith(LABEL) else _BY_RECORD[name]} AS g{n}"
        for n, name in enumerate(by)
        if name not in _BY
    ]
    own.append(f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms")
    sums = [(name, expression) for name, expression in SUMS if name in names]
    return counted(own, GROUPS, sums, halves, where), [*labels, *bounds] * 2


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


def _local_hour(ms: int, zone: tzinfo) -> str:
    """The local hour of a quarter hour: a number to sort by, then ISO text with the offset.

    So the hour that a clock change repeats is shown as two hours.
    """
    local = _local(ms, zone)
    hour = local.replace(minute=0, second=0, tzinfo=timezone(local.utcoffset() or timedelta()))
    return f"{int(hour.timestamp()) * 1000:015d} {hour.isoformat(timespec='seconds')}"
