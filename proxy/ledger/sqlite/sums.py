"""The columns of roll-ups, and the statements that add to quarter hours and wider spans.

A roll-up has one row a group (`GROUPS`) and span of time, with the sums of `SUMS`.
"""

from __future__ import annotations

import msgspec

from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS, FOUR_HOURS_MS, families
from proxy.ledger.spans import GROUPS as GROUPS
from proxy.ledger.spans import SpanFamily as SpanFamily

Sums = tuple[tuple[str, str], ...]  # the name of each, and its expression
# The sums of a roll-up; null is "not known", as in the record. Each expression reads one row of
# records, and `measures` below sums it. These are the sums that roll-ups began with: migrations are
# made of them, and stay as they are.
FIRST_SUMS: Sums = (
    ("requests", "(kind = 'usage')"),
    ("input_tokens", "input_tokens"),
    ("cached_tokens", "cached_tokens"),
    ("cache_write_tokens", "cache_write_tokens"),
    ("output_tokens", "output_tokens"),
    ("reasoning_tokens", "reasoning_tokens"),
    ("cost_nano", "cost_nano"),
    ("charge_nano", "charge_nano"),
    ("reported_requests", "(kind = 'usage' AND source = 'reported')"),
    ("unpriced_requests", "(kind = 'usage' AND cost_nano IS NULL)"),
)
MORE_SUMS: Sums = (
    ("cache_write_long_tokens", "cache_write_long_tokens"),
    ("searches", "searches"),
)
SUMS: Sums = (*FIRST_SUMS, *MORE_SUMS)

# Roll-ups of wider spans: a range of months is summed from them, as a year has 35,000 quarter
# hours. They hold what started before `folded_until_ms` (see `rollups`). Names are in a table of
# their own, under a number. A group's spans stand together, so that summing them needs no sorting.
# Money comes in two halves of 32 bits: a month of a small company's dong is beyond 63 bits.
HALF = 2**32
# Table, and the start of the span that a moment lies in; the narrowest first.
_STARTS = (
    f"{{at}} - {{at}} % {FOUR_HOURS_MS}",
    "{at} - {at} % 86400000",
    # Months are in UTC. Times are clamped to SQLite's calendar; beyond it a span would be null.
    (
        "strftime('%s', max(0, min({at}, 253402300799999)) / 1000, 'unixepoch', 'start of month') "
        "* 1000"
    ),
)
# The second has no keys, for questions that name none.
FAMILIES = (KEYED, KEYLESS) = families(_STARTS)
WIDE = KEYED.wide
MONEY = ("cost_nano", "charge_nano")


def wide(sums: Sums) -> tuple[str, ...]:
    """The columns of these sums in the tables of wide spans."""
    return tuple(
        column
        for name, _ in sums
        for column in ((f"{name}_high", f"{name}_low") if name in MONEY else (name,))
    )


class Adding(msgspec.Struct, frozen=True):
    """How rows are added to one table of roll-ups; `adding.add` does it.

    statement · adds them in one go, if no sum of them and of what is there is beyond 63 bits
    rows · the rows by themselves: the start of the span, the groups, the sums
    carried · where the rows are roll-ups themselves, what is carried of them; see `carried`
    named · a statement that is done before, and gives each new group its number
    """

    table: str
    groups: tuple[str, ...]
    statement: str
    rows: str
    carried: str | None = None
    names: str | None = None
    named: str | None = None


def summed_records(where: str) -> Adding:
    """Adds the records that `where` chooses to the quarter hours."""
    names = ", ".join(f"{expression} AS {name}" for name, expression in SUMS)
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
    statement = f"""
INSERT INTO rollups (bucket_ms, {_GROUPS}, {_NAMES})
SELECT {bucket}, {_GROUPS}, {measures()}
FROM records WHERE {where}
GROUP BY 1, 2, 3, 4, 5, 6 {_ON_KNOWN_GROUP}"""
    rows = f"SELECT {bucket}, {_GROUPS}, {names} FROM records WHERE {where}"
    return Adding("rollups", GROUPS, statement, rows)


def moved_into_rollups(where: str) -> Adding:
    """Adds to the quarter hours what late prices moved.

    `where` chooses the prices; see `proxy.ledger.late_prices`.
    """
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
    return added_quarters(moved(Columns([bucket], GROUPS, SUMS), where))


def added_quarters(rows: str) -> Adding:
    """Adds rows of `bucket_ms`, the groups and the sums to the quarter hours."""
    sums = ", ".join(
        f"coalesce(sum({name}), 0)" if name.endswith("requests") else f"sum({name})"
        for name, _ in SUMS
    )
    statement = f"""
INSERT INTO rollups (bucket_ms, {_GROUPS}, {_NAMES})
SELECT bucket_ms, {_GROUPS}, {sums} \
FROM ({rows}) GROUP BY 1, 2, 3, 4, 5, 6 {_ON_KNOWN_GROUP}"""
    return Adding("rollups", GROUPS, statement, rows)


def added_wide(source: str, carried: str | None = None) -> tuple[Adding, ...]:
    """Adds the rows of `source` to all wide tables.

    A row has `at`, the groups and the sums. `carried` is a query of the same columns and values;
    see `Adding`.
    """
    return tuple(
        _folded(table, span, source, carried, family, first=table == family.wide[0][0])
        for family in FAMILIES
        for table, span in family.wide
    )


def named(source: str, family: SpanFamily = KEYED) -> str:
    """A statement that gives each group in `source` its number."""
    groups = ", ".join(family.groups)
    return (
        f"INSERT INTO {family.names} ({groups}) SELECT DISTINCT {groups} FROM ({source}) WHERE 1 "
        "ON CONFLICT DO NOTHING"
    )


def same_group(one: str, other: str, family: SpanFamily) -> str:
    """The condition that two rows are of the same group."""
    return " AND ".join(
        f"{one}.{name} = {other}.{name}"
        if name in _NEVER_NULL
        else f"ifnull({one}.{name}, 0) = ifnull({other}.{name}, 0)"
        for name in family.groups
    )


def measures(alias: str = "") -> str:
    """The select list that sums records into a roll-up's columns.

    If no record has a number, the sum is null.
    """
    return ", ".join(f"sum({expression}) AS {alias}{name}" for name, expression in SUMS)


def summed_halves(name: str) -> str:
    """The two columns of a sum of any size; see `of_halves`."""
    return f"sum({name} / {HALF}), sum({name} % {HALF})"


def of_halves(high: int | None, low: int | None) -> int | None:
    """The number that two halves are; None if it is not known."""
    return None if high is None or low is None else high * HALF + low


def added(name: str) -> str:
    """How an upsert adds to a sum. null + 5 is 5, null + null is null.

    Past 63 bits SQLite's + makes a float, and a STRICT table refuses the statement.
    """
    return f"{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})"


def _folded(
    table: str, span: str, source: str, carried: str | None, family: SpanFamily, *, first: bool
) -> Adding:
    groups = ", ".join(family.groups)
    sums = [
        sum
        for name, _ in SUMS
        for sum in (
            [f"sum({name} / {HALF})", f"sum({name} % {HALF})"]
            if name in MONEY
            else [f"sum({name})"]
        )
    ]
    columns = wide(SUMS)
    statement = f"""
INSERT INTO {table} (group_id, bucket_ms, {", ".join(columns)})
SELECT g.id, {span.format(at="s.at")}, {", ".join(sums)}
FROM ({source}) AS s JOIN {family.names} AS g ON {same_group("g", "s", family)} GROUP BY 1, 2
ON CONFLICT (group_id, bucket_ms) DO UPDATE SET {", ".join(map(added, columns))}"""
    shown = f"SELECT {span.format(at='at')}, {groups}, {_NAMES}"
    return Adding(
        table,
        family.groups,
        statement,
        f"{shown} FROM ({source})",
        None if carried is None else f"{shown} FROM ({carried})",
        family.names,
        named(source, family) if first else None,
    )


_NEVER_NULL = ("key_id", "upstream")
_GROUPS = ", ".join(GROUPS)
_NAMES = ", ".join(name for name, _ in SUMS)
_ON_KNOWN_GROUP = f"""
ON CONFLICT \
(bucket_ms, key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0)) \
DO UPDATE SET
{", ".join(added(name) for name, _ in SUMS)}"""
