"""The columns of roll-ups, and the statements that add to quarter hours and wider spans.

A roll-up has one row a group (`GROUPS`) and span of time, with the sums of `SUMS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS, FOUR_HOURS_MS, WIDE_TABLES

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
GROUPS: tuple[str, ...] = ("key_id", "team", "model_requested", "upstream", "currency")

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
WIDE: tuple[tuple[str, str], ...] = tuple(zip(WIDE_TABLES, _STARTS, strict=True))
MONEY = ("cost_nano", "charge_nano")


class SpanFamily(msgspec.Struct, frozen=True):
    """Wide roll-ups of the same groups.

    names · the table that has the number of each group    groups · the columns that make a group
    wide · the tables, each with the start of its spans; the narrowest first
    """

    names: str
    groups: tuple[str, ...]
    wide: tuple[tuple[str, str], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """All of its tables."""
        return (self.names, *(table for table, _ in self.wide))

    def table(self, keyed: str) -> str:
        """Its table of the same width as this one of `WIDE_TABLES`."""
        return self.wide[WIDE_TABLES.index(keyed)][0]


KEYED = SpanFamily("rollup_groups", GROUPS, WIDE)
# The same without keys, for questions that name none: with 10,000 keys a fortieth of the rows.
KEYLESS = SpanFamily(
    "rollup_teams",
    GROUPS[1:],
    tuple(zip(("teams_4h", "teams_daily", "teams_monthly"), _STARTS, strict=True)),
)
FAMILIES = (KEYED, KEYLESS)
_SUM_MAX = 2**63 - 1


def wide(sums: Sums) -> tuple[str, ...]:
    """The columns of these sums in the tables of wide spans."""
    return tuple(
        column
        for name, _ in sums
        for column in ((f"{name}_high", f"{name}_low") if name in MONEY else (name,))
    )


def added(name: str) -> str:
    """How an upsert adds to a sum. null + 5 is 5, null + null is null."""
    # Past 63 bits SQLite's + makes a float, which a STRICT table would always refuse. So the sum
    # stays at the bound.
    return (
        f"{name} = coalesce(max(-{_SUM_MAX}, min({_SUM_MAX}, {name} + excluded.{name})), {name}, "
        f"excluded.{name})"
    )


def summed(name: str) -> str:
    """The bounded sum of any number of rows; SQLite's own `sum` fails past 63 bits."""
    return (
        f"max(-{_SUM_MAX}, min({_SUM_MAX}, sum({name} / {HALF}) * {HALF} + sum({name} % {HALF})))"
    )


def added_wide(source: str) -> tuple[str, ...]:
    """The statements that add the rows of `source` to all wide tables; see `folded`."""
    return tuple(
        statement
        for family in FAMILIES
        for statement in (
            named(source, family),
            *(folded(table, span, source, family=family) for table, span in family.wide),
        )
    )


def named(source: str, family: SpanFamily = KEYED) -> str:
    """A statement that gives each group in `source` its number."""
    groups = ", ".join(family.groups)
    return (
        f"INSERT INTO {family.names} ({groups}) SELECT DISTINCT {groups} FROM ({source}) WHERE 1 "
        "ON CONFLICT DO NOTHING"
    )


def folded(table: str, span: str, source: str, of: Sums = SUMS, family: SpanFamily = KEYED) -> str:
    """A statement that adds the rows of `source` to a wide table.

    A row has `at`, the groups and the sums of a quarter hour's roll-up. Its group must have its
    number already.
    """
    same = same_group("g", "s", family)
    sums = [
        sum
        for name, _ in of
        for sum in (
            [f"sum({name} / {HALF})", f"sum({name} % {HALF})"] if name in MONEY else [summed(name)]
        )
    ]
    return _upsert(table, span, of, sums, f"({source}) AS s JOIN {family.names} AS g ON {same}")


def same_group(one: str, other: str, family: SpanFamily) -> str:
    """The condition that two rows are of the same group."""
    return " AND ".join(
        f"{one}.{name} = {other}.{name}"
        if name in _NEVER_NULL
        else f"ifnull({one}.{name}, 0) = ifnull({other}.{name}, 0)"
        for name in family.groups
    )


def folded_on(table: str, span: str, where: str, of: Sums = SUMS) -> str:
    """A statement that adds spans of the narrowest wide table to a wider one.

    `where` chooses the spans by their `at`.
    """
    narrowest = f"(SELECT group_id, bucket_ms AS at, {', '.join(wide(of))} FROM {WIDE[0][0]})"
    return _upsert(
        table,
        span,
        of,
        list(map(summed, wide(of))),
        f"rollup_groups AS g CROSS JOIN {narrowest} AS s ON s.group_id = g.id AND {where}",
    )


def _upsert(table: str, span: str, of: Sums, sums: Sequence[str], source: str) -> str:
    return f"""
INSERT INTO {table} (group_id, bucket_ms, {", ".join(wide(of))})
SELECT g.id, {span.format(at="s.at")}, {", ".join(sums)}
FROM {source} GROUP BY 1, 2
ON CONFLICT (group_id, bucket_ms) DO UPDATE SET {", ".join(map(added, wide(of)))}"""


_NEVER_NULL = ("key_id", "upstream")


def measures(alias: str = "") -> str:
    """The select list that sums records into a roll-up's columns.

    If no record has a number, the sum is null.
    """
    return ", ".join(f"sum({expression}) AS {alias}{name}" for name, expression in SUMS)


def summed_records(where: str) -> str:
    """A statement that adds the records that `where` chooses to the quarter hours."""
    names = ", ".join(name for name, _ in SUMS)
    return f"""
INSERT INTO rollups (bucket_ms, {", ".join(GROUPS)}, {names})
SELECT started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms, {", ".join(GROUPS)}, {measures()}
FROM records WHERE {where}
GROUP BY 1, 2, 3, 4, 5, 6 {on_known_group()}
"""


def moved_into_rollups(where: str, of: Sums = SUMS) -> str:
    """A statement that adds to the quarter hours what late prices moved.

    `where` chooses the prices; see `proxy.ledger.late_prices`.
    """
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
    rows = moved(Columns([bucket], GROUPS, of), where)
    sums = ", ".join(f"sum({name})" for name, _ in of)
    return f"""
INSERT INTO rollups (bucket_ms, {", ".join(GROUPS)}, {", ".join(name for name, _ in of)})
SELECT bucket_ms, {", ".join(GROUPS)}, {sums} \
FROM ({rows}) GROUP BY 1, 2, 3, 4, 5, 6 {on_known_group(of)}"""


def on_known_group(of: Sums = SUMS) -> str:
    """How an upsert adds to the quarter hours."""
    return f"""
ON CONFLICT \
(bucket_ms, key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0)) \
DO UPDATE SET
{", ".join(added(name) for name, _ in of)}"""
