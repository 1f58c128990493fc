"""Holds the roll-ups in PostgreSQL against the records that they were summed from.

The quarter hours of all writers together are held against the records, a day at a time. The wider
spans are held against the quarter hours, a table at a time.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from proxy.core.records.chain import FINDINGS_MAX, Flaw
from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.postgresql.archive import ARCHIVED, source_of_records
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.sums import FAMILIES, GROUPS, IN_THE_BOOK, NAMES, SUMS, bucket
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.verification import VerifyStep

DAY_MS: Final = 86_400_000
NEWEST_MAX: Final = 16_384  # records that a start reads to hold roll-ups against them

_Sums: TypeAlias = dict[tuple[Any, ...], tuple[Any, ...]]  # by the start of the span and the groups

_GROUPS: Final = ", ".join(GROUPS)
_BY: Final = ", ".join(str(n + 1) for n in range(len(GROUPS) + 1))
_SUMS: Final = ", ".join(f"sum({name})" for name in NAMES)
_WITHIN: Final = "{row}.started_at_ms >= %(low)s AND {row}.started_at_ms < %(high)s"
_SHOWN: Final = ", ".join(f"{expression} AS {name}" for name, expression in SUMS)
_MOVED: Final = moved(
    Columns(["started_at_ms"], GROUPS, SUMS),
    _WITHIN,
    IN_THE_BOOK,
)
_COUNTED: Final = (
    f"(SELECT started_at_ms, {_GROUPS}, {_SHOWN} "
    f"FROM {{table}} WHERE {_WITHIN.format(row='records')} UNION ALL {_MOVED} UNION ALL SELECT * "
    f"FROM ({ARCHIVED}) AS archived WHERE at >= %(low)s AND at < %(high)s) AS rows"
)
_OF_RECORDS: Final = f"SELECT {bucket()}, {_GROUPS}, {_SUMS} FROM {_COUNTED} GROUP BY {_BY}"
_IN_QUARTERS: Final = "rollups WHERE bucket_ms >= %(low)s AND bucket_ms < %(high)s"
_OF_QUARTERS: Final = f"SELECT bucket_ms, {_GROUPS}, {_SUMS} FROM {_IN_QUARTERS} GROUP BY {_BY}"
# Sums of both sides, line by line. The server sums them in bounded memory, and tells two numbers.
_DIFFERS: Final = " OR ".join(
    f"coalesce(sum({name}) FILTER (WHERE is_booked), 0) <> "
    f"coalesce(sum({name}) FILTER (WHERE NOT is_booked), 0)"
    for name in NAMES
)
_LINES: Final = (
    "SELECT count(*), count(*) FILTER (WHERE differs) FROM (SELECT "
    f"({_DIFFERS}) AS differs FROM (SELECT {{start}} AS span, {{groups}}, {', '.join(NAMES)}, "
    f"false AS is_booked FROM {{counted}} UNION ALL SELECT bucket_ms, {{groups}}, "
    f"{', '.join(NAMES)}, true FROM {{booked}}) AS both_sides GROUP BY span, {{groups}}) AS lines"
)
_NEXT: Final = """
SELECT least((SELECT min(started_at_ms) FROM records WHERE started_at_ms >= %(low)s),
  (SELECT min(bucket_ms) FROM rollups WHERE bucket_ms >= %(low)s),
  (SELECT min(bucket_ms) FROM archived_sums WHERE bucket_ms >= %(low)s))"""
_COUNT: Final = f"SELECT count(*) FROM {{table}} WHERE {_WITHIN.format(row='records')}"

_SOME: Final = (
    f"SELECT count(*) FROM (SELECT 1 FROM records WHERE {_WITHIN.format(row='records')} "
    "LIMIT %(most)s) AS found"
)


def rollups_step(connection: Connection, place: str | None) -> VerifyStep:
    """The quarter hours of the next day that has any, or has records."""
    low = -(2**63) if place is None else int(place)
    [first_ms] = connection.execute(_NEXT, {"low": low}).fetchone() or (None,)
    if first_ms is None:
        return VerifyStep()
    day = {"low": first_ms // DAY_MS * DAY_MS, "high": first_ms // DAY_MS * DAY_MS + DAY_MS}
    table = source_of_records(connection)
    found: list[Flaw] = []
    counted = _COUNTED.format(table=table)
    if _lines(connection, (bucket(), _GROUPS, counted, _IN_QUARTERS), day)[1]:
        of_records = _sums(connection, _OF_RECORDS.format(table=table), day)
        found = _differing("rollups", of_records, _sums(connection, _OF_QUARTERS, day))
    [rows] = connection.execute(_COUNT.format(table=table).encode(), day).fetchone() or (0,)
    return VerifyStep(
        rows=rows, found=len(found), findings=found[:FINDINGS_MAX], next=str(day["high"])
    )


def newest_rollups(connection: Connection) -> VerifyStep:
    """The last quarter hour, unless it has more records than a start has time for."""
    [last_ms] = connection.execute("SELECT max(bucket_ms) FROM rollups").fetchone() or (None,)
    if last_ms is None:
        return VerifyStep()
    quarter = {"low": last_ms, "high": last_ms + BUCKET_MS, "most": NEWEST_MAX + 1}
    [rows] = connection.execute(_SOME.encode(), quarter).fetchone() or (0,)
    if rows > NEWEST_MAX:
        return VerifyStep()
    expected = _sums(connection, _OF_RECORDS.format(table=source_of_records(connection)), quarter)
    booked = _sums(connection, _OF_QUARTERS, quarter)
    found = _differing("rollups", expected, booked)
    return VerifyStep(rows=rows, found=len(found), findings=found[:FINDINGS_MAX])


def wide_step(connection: Connection, place: str | None) -> VerifyStep:
    """The spans of the next table."""
    at = 0 if place is None else int(place)
    tables = [(family, *table) for family in FAMILIES for table in family.wide]
    family, table, start = tables[at]
    groups = ", ".join(family.groups)
    by = ", ".join(str(n + 1) for n in range(len(family.groups) + 1))
    start = start.format(at="bucket_ms")
    folded = "rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold)"
    spans = f"{table} LEFT JOIN {family.names} ON id = group_id"
    rows, differing = _lines(connection, (start, groups, folded, spans), {})
    found: list[Flaw] = []
    if differing:
        width = len(family.groups) + 1
        expected = f"SELECT {start}, {groups}, {_SUMS} FROM {folded} GROUP BY {by}"
        booked = f"SELECT bucket_ms, {groups}, {_SUMS} FROM {spans} GROUP BY {by}"
        found = _differing(
            table, _sums(connection, expected, {}, width), _sums(connection, booked, {}, width)
        )
    following = str(at + 1) if at + 1 < len(tables) else None
    return VerifyStep(rows=rows, found=len(found), findings=found[:FINDINGS_MAX], next=following)


def _lines(
    connection: Connection, sides: tuple[str, str, str, str], values: dict[str, int]
) -> tuple[int, int]:
    """How many lines there are, and how many of them differ.

    sides · the start of a span, the groups, where they are counted from and where they are booked
    """
    start, groups, counted, booked = sides
    query = _LINES.format(start=start, groups=groups, counted=counted, booked=booked)
    row = connection.execute(query.encode(), values).fetchone() or (0, 0)
    return int(row[0]), int(row[1])


def _sums(
    connection: Connection, query: str, values: dict[str, int], width: int = len(GROUPS) + 1
) -> _Sums:
    """The sums by span and groups, which are `width` columns, without lines of nothing."""
    rows = connection.execute(query.encode(), values).fetchall()
    return {row[:width]: row[width:] for row in rows if any(row[width:])}


def _differing(table: str, expected: _Sums, found: _Sums) -> list[Flaw]:
    """What the roll-ups say otherwise than what they were summed from."""
    flaws = []
    part = "rollups" if table == "rollups" else "wide"
    for line in sorted(expected.keys() | found.keys(), key=repr):
        nothing = (None,) * len(NAMES)
        should, says = expected.get(line, nothing), found.get(line, nothing)
        names = [
            f"{name} {_shown(is_)} and not {_shown(was)}"
            for name, was, is_ in zip(NAMES, should, says, strict=True)
            if (was or 0) != (is_ or 0)
        ]
        if names:
            group = ", ".join(str(value) for value in line[1:] if value is not None)
            flaws.append(Flaw(part, f"{table} of {line[0]} ({group}): {'; '.join(names)}"))
    return flaws


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(int(value))
