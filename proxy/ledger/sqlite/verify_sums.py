"""Holds the roll-ups in the file against the records they were summed from.

The quarter hours are held against the records, and the wider spans against the quarter hours. A
step looks at one stretch of time in one transaction, so that a booking comes before or after it as
a whole. A stretch is as long as some thousand rows.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, Flaw
from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.archive import archived_lines, archived_until, has_archived_sums
from proxy.ledger.sqlite.carried import Key, Totals, added, carried, with_carried
from proxy.ledger.sqlite.carried import strays as carried_of_none
from proxy.ledger.sqlite.sum_stretches import DAY_MS, STEP_ROWS, SumsPlace, begun, stretch
from proxy.ledger.sqlite.sums import FAMILIES, GROUPS, HALF, KEYED, MONEY, SUMS, SpanFamily
from proxy.ledger.sqlite.verify_quickly import is_quick, quarters_agree, strays, wide_quickly
from proxy.ledger.stretches import END_MS, FIRST_MS
from proxy.ledger.verification import VerifyStep

SUMS_SINCE: Final = 8  # the schema version: the roll-ups have all sums since then

_NAMES = tuple(name for name, _ in SUMS)
_GROUPS = ", ".join(GROUPS)
_ROW_SUMS = tuple(expression for _, expression in SUMS)
_WITHIN = "{row}.started_at_ms >= ? AND {row}.started_at_ms < ?"
_MOVED = moved(
    Columns([f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"], GROUPS, SUMS),
    _WITHIN,
)
_ROLLUPS = (
    f"SELECT bucket_ms, {_GROUPS}, {', '.join(_NAMES)} FROM rollups "
    "WHERE bucket_ms >= ? AND bucket_ms < ?"
)
_ENDS = (("started_at_ms", "records"), ("bucket_ms", "rollups"))
_ARCHIVED = ("bucket_ms", "archived_sums")


def first_of_rollups(
    connection: sqlite3.Connection, since_ms: int | None = None
) -> SumsPlace | None:
    """Where quarter hours begin, or what they were summed from; None: there is neither."""
    ends = (*_ENDS, _ARCHIVED) if has_archived_sums(connection) else _ENDS
    return begun(connection, ends, BUCKET_MS, since_ms)


def first_of_spans(
    connection: sqlite3.Connection, families: Sequence[SpanFamily] = FAMILIES
) -> SumsPlace | None:
    """The day on which roll-ups of any width begin; None: there are none."""
    tables = ["rollups", *(table for family in families for table, _ in family.wide)]
    return begun(connection, [("bucket_ms", table) for table in tables], DAY_MS)


def rollups_step(
    connection: sqlite3.Connection,
    place: str | None,
    *,
    since_ms: int | None = None,
    quickly: bool = True,
) -> VerifyStep:
    """Hold the quarter hours of the next stretch against their records.

    `since_ms`: begin with this quarter hour and not with the first.    `quickly`: look value by
    value only where something may be wrong
    """
    if place is None:
        at = first_of_rollups(connection, since_ms)
    else:
        at = msgspec.json.decode(place, type=SumsPlace)
    if at is None:
        return VerifyStep()
    bounds = stretch(connection, at, "started_at_ms", "records", BUCKET_MS, STEP_ROWS)
    archived_ms = archived_until(connection, at.from_ms, STEP_ROWS)
    if archived_ms is not None and archived_ms < bounds[1]:
        bounds = (bounds[0], max(archived_ms, bounds[0] + BUCKET_MS))
    archived = list(archived_lines(connection, bounds))
    if quickly and not archived and (agreeing := quarters_agree(connection, bounds)) is not None:
        return _step(at, bounds, agreeing, ())
    counted, rows = _of_records(connection, bounds)
    for key, totals in archived:
        counted[key] = added(counted.get(key), totals)
    stored = with_carried(
        _lines(connection.execute(_ROLLUPS, bounds)),
        carried(connection, "rollups", GROUPS, bounds),
    )
    found = _differences("rollups", "quarter hour", counted, stored)
    return _step(at, bounds, rows, found)


def wide_step(
    connection: sqlite3.Connection,
    place: str | None,
    families: Sequence[SpanFamily] = FAMILIES,
    *,
    quickly: bool = True,
) -> VerifyStep:
    """Hold the four hours, days and months of the next stretch against the quarter hours.

    Months are held against the days, in the last step. `quickly`: look value by value only where
    something may be wrong.
    """
    if place is not None and not is_quick(place):
        at: SumsPlace | None = msgspec.json.decode(place, type=SumsPlace)
    else:
        # The quick look goes first. Where it finds anything, this begins with the first span.
        quickly = quickly and families == FAMILIES
        if quickly and (step := wide_quickly(connection, place)) is not None:
            return step
        at = first_of_spans(connection, families)
    if at is None:
        return VerifyStep()
    bounds = stretch(connection, at, "bucket_ms", "rollups", DAY_MS, STEP_ROWS)
    folded_ms = connection.execute("SELECT max(folded_until_ms) FROM fold").fetchone()[0] or 0
    found: list[Flaw] = []
    if not isinstance(folded_ms, int) or folded_ms % BUCKET_MS:
        what = f"the end of the wide roll-ups, {folded_ms!r}, is no start of a quarter hour"
        found.append(Flaw(KEYED.wide[0][0], what))
        folded_ms = folded_ms if isinstance(folded_ms, int) else 0
    within = (bounds[0], min(bounds[1], folded_ms))
    rows = 0
    source = "FROM rollups WHERE bucket_ms >= ? AND bucket_ms < ?"
    for family in families:
        for table, span in family.wide[:-1]:
            names = [span.format(at="bucket_ms"), *family.groups]
            lines = _summed(connection, names, _NAMES, source, within)
            beside = carried(connection, "rollups", family.groups, within, names[0])
            counted = dict(with_carried(_lines(lines, family.groups), beside))
            rows += len(counted)
            stored = _wide(connection, family, table, bounds)
            found += _differences(table, "span", counted, stored, family.groups)
    step = _step(at, bounds, rows, found)
    return step if step.next is not None else _with_months(connection, step, families)


def _with_months(
    connection: sqlite3.Connection, step: VerifyStep, families: Sequence[SpanFamily]
) -> VerifyStep:
    """The last step, with the months and with spans that belong to no group."""
    always = (FIRST_MS, END_MS)
    rows = 0
    found: list[Flaw] = []
    for family in families:
        (days, _), (months, span) = family.wide[-2:]
        counted: dict[Key, Totals] = {}
        start = span.format(at="bucket_ms")
        for key, totals in _wide(connection, family, days, always, start):
            counted[key] = added(counted.get(key), totals)
        rows += len(counted)
        stored = _wide(connection, family, months, always)
        found += _differences(months, "month", counted, stored, family.groups)
        for table, _ in family.wide:
            if count := strays(connection, family, table):
                found.append(Flaw(table, f"{table}: {count} spans belong to no group"))
    if count := carried_of_none(connection):
        found.append(Flaw("carried_sums", f"{count} parts of sums belong to no roll-up"))
    return msgspec.structs.replace(
        step,
        rows=step.rows + rows,
        found=step.found + len(found),
        findings=[*step.findings, *found][:FINDINGS_MAX],
    )


def _step(at: SumsPlace, bounds: tuple[int, int], rows: int, found: Iterable[Flaw]) -> VerifyStep:
    findings = list(found)
    following = SumsPlace(bounds[1], at.last_ms)
    return VerifyStep(
        rows=rows,
        found=len(findings),
        findings=findings[:FINDINGS_MAX],
        next=msgspec.json.encode(following).decode() if bounds[1] <= at.last_ms else None,
    )


def _of_records(
    connection: sqlite3.Connection, bounds: tuple[int, int]
) -> tuple[dict[Key, Totals], int]:
    """What the records of the stretch come to, and how many they are."""
    names = [f"started_at_ms - started_at_ms % {BUCKET_MS}", *GROUPS]
    counted: dict[Key, Totals] = {}
    rows = adjustments = 0
    source = f"FROM records WHERE {_WITHIN.format(row='records')}"
    for line in _summed(connection, names, _ROW_SUMS, source, bounds, "count(*), count(adjusts)"):
        rows, adjustments = rows + line[-2], adjustments + line[-1]
        counted[tuple(line[: len(GROUPS) + 1])] = tuple(line[len(GROUPS) + 1 : -2])
    if adjustments:
        names = ["bucket_ms", *GROUPS]
        lines = _summed(connection, names, _NAMES, f"FROM ({_MOVED})", bounds)
        for key, totals in _lines(lines):
            counted[key] = added(counted.get(key), totals)
    return counted, rows


def _summed(
    connection: sqlite3.Connection,
    names: Sequence[str],
    sums: Sequence[str],
    source: str,
    bounds: tuple[int, int],
    more: str = "1",
) -> Iterator[Sequence[Any]]:
    """The sums by name, exact beyond 63 bits: SQLite fails there, and is then asked for halves."""
    whole = ", ".join(f"sum({sum})" for sum in sums)
    shown, by = ", ".join(names), ", ".join(str(n + 1) for n in range(len(names)))
    try:
        yield from connection.execute(
            f"SELECT {shown}, {whole}, {more} {source} GROUP BY {by}", bounds
        ).fetchall()
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow":
            raise
        halves = ", ".join(f"sum({sum} / {HALF}), sum({sum} % {HALF})" for sum in sums)
        width = len(names)
        for line in connection.execute(
            f"SELECT {shown}, {halves}, {more} {source} GROUP BY {by}", bounds
        ):
            end = width + 2 * len(sums)
            pairs = zip(line[width:end:2], line[width + 1 : end : 2], strict=True)
            exact = [None if high is None else high * HALF + low for high, low in pairs]
            yield (*line[:width], *exact, *line[end:])


def _lines(
    rows: Iterable[Sequence[Any]], groups: Sequence[str] = GROUPS
) -> Iterator[tuple[Key, Totals]]:
    width = len(groups) + 1
    for row in rows:
        yield tuple(row[:width]), tuple(row[width : width + len(_NAMES)])


def _wide(
    connection: sqlite3.Connection,
    family: SpanFamily,
    table: str,
    bounds: tuple[int, int],
    start: str = "bucket_ms",
) -> Iterator[tuple[Key, Totals]]:
    """The sums of a wide table's rows, each in one number."""
    beside = carried(connection, table, family.groups, bounds, start)
    return with_carried(_wide_rows(connection, family, table, bounds, start), beside)


def _wide_rows(
    connection: sqlite3.Connection,
    family: SpanFamily,
    table: str,
    bounds: tuple[int, int],
    start: str,
) -> Iterator[tuple[Key, Totals]]:
    sums = ", ".join(f"{name}_high, {name}_low" if name in MONEY else name for name in _NAMES)
    for row in connection.execute(
        f"SELECT {start}, {', '.join(family.groups)}, {sums} FROM {family.names} AS g "
        f"CROSS JOIN {table} ON group_id = g.id AND bucket_ms >= ? AND bucket_ms < ?",
        bounds,
    ):
        width = len(family.groups) + 1
        values = iter(row[width:])
        totals: list[Any] = []
        for name in _NAMES:
            value = next(values)
            whole = _of_halves(value, next(values)) if name in MONEY else value
            # A text, where damage made one of a number, has no sum.
            totals.append(whole if isinstance(whole, int | None) else math.nan)
        yield tuple(row[:width]), tuple(totals)


def _of_halves(high: Any, low: Any) -> Any:
    """Money of two halves; what is no number if only one of them is known."""
    if high is None and low is None:
        return None
    known = isinstance(high, int) and isinstance(low, int)
    return high * HALF + low if known else math.nan


def _differences(
    part: str,
    what: str,
    counted: dict[Key, Totals],
    stored: Iterable[tuple[Key, Totals]],
    groups: Sequence[str] = GROUPS,
) -> Iterator[Flaw]:
    """What the stored roll-ups say otherwise than the sums of the rows behind them."""
    for key, totals in stored:
        expected = counted.pop(key, None)
        if expected is None:
            yield Flaw(part, f"{_named(what, key, groups)}: there is no record behind it")
            continue
        wrong = [
            f"{name} is {_shown(has)} and must be {_shown(must)}"
            for name, has, must in zip(_NAMES, totals, expected, strict=True)
            if type(has) is not type(must) or has != must
        ]
        if wrong:
            yield Flaw(part, f"{_named(what, key, groups)}: {', '.join(wrong)}")
    for key in counted:
        yield Flaw(part, f"{_named(what, key, groups)}: it is missing")


def _named(what: str, key: Key, groups: Sequence[str]) -> str:
    names = zip(groups, key[1:], strict=True)
    told = ", ".join(f"{name} {value!r}" for name, value in names if value is not None)
    return f"roll-up of the {what} {_time(key[0])}, {told}"


def _time(ms: object) -> str:
    try:
        assert isinstance(ms, int)
        return datetime.fromtimestamp(ms // 1000, UTC).isoformat()
    except (AssertionError, ValueError, OverflowError, OSError):
        return repr(ms)


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)
