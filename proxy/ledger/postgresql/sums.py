"""The columns of roll-ups in PostgreSQL, and the statements that add to them.

As in SQLite, a roll-up has one row a group (`GROUPS`) and span of time, with the sums of `SUMS`.
A quarter hour also has the chain of its writer in its key, so that no writer waits for another's
row. Wide spans have the sums of all writers, under a group's number: once with keys, and once
without. Both are written under the lock that orders commits, so that no writer waits for another's
row of a team, or meets it in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.ledger.late_prices import BookedRows
from proxy.ledger.spans import BUCKET_MS, FOUR_HOURS_MS, SpanFamily, families
from proxy.ledger.spans import GROUPS as GROUPS

# The name of each sum, and its expression over one row of records; null is "not known".
SUMS: Final[tuple[tuple[str, str], ...]] = (
    ("requests", "(kind = 'usage')::int"),
    ("input_tokens", "input_tokens"),
    ("cached_tokens", "cached_tokens"),
    ("cache_write_tokens", "cache_write_tokens"),
    ("cache_write_long_tokens", "cache_write_long_tokens"),
    ("output_tokens", "output_tokens"),
    ("reasoning_tokens", "reasoning_tokens"),
    ("searches", "searches"),
    ("cost_nano", "cost_nano"),
    ("charge_nano", "charge_nano"),
    ("reported_requests", "(kind = 'usage' AND source = 'reported')::int"),
    ("unpriced_requests", "(kind = 'usage' AND cost_nano IS NULL)::int"),
)
NAMES: Final = tuple(name for name, _ in SUMS)

# Rows as a reader finds them, in the order of the whole book.
IN_THE_BOOK: Final = BookedRows("book", join="JOIN", sides=" AS sides")
# Rows as the transaction finds them that adds some to one chain. The rows of other chains that it
# sees are committed and therefore earlier. What a checkpoint covers is archived, and only waits to
# be deleted.
IN_ITS_CHAIN: Final = BookedRows(
    "records",
    "({row}.chain <> p.chain OR {row}.chain_seq < p.chain_seq) AND NOT EXISTS (SELECT 1 FROM "
    "checkpoints AS c WHERE c.chain = {row}.chain AND c.chain_seq >= {row}.chain_seq)",
    join="JOIN",
    sides=" AS sides",
)

# The start of the span that a moment lies in; months are in UTC, whatever the connection's zone.
# `mod` in place of %, which the driver would take for a parameter.
_STARTS: Final = (
    f"{{at}} - mod({{at}}, {FOUR_HOURS_MS})",
    "{at} - mod({at}, 86400000)",
    "(extract(epoch FROM date_trunc('month', to_timestamp(greatest(0, least({at}, "
    "253402300799999)) / 1000) AT TIME ZONE 'UTC')) * 1000)::bigint",
)
FAMILIES: Final = families(_STARTS)
KEYED, KEYLESS = FAMILIES

_NEVER_NULL: Final = ("key_id", "upstream")
_GROUPS: Final = ", ".join(GROUPS)
_NAMES: Final = ", ".join(NAMES)


def bucket(at: str = "started_at_ms") -> str:
    """The expression for the start of the quarter hour."""
    return f"{at} - mod({at}, {BUCKET_MS})"


def added_to_quarters(source: str) -> str:
    """A statement that adds rows to the quarter hours of one chain.

    `source` has `at`, the groups and the sums of single rows; `%(chain)s` is the chain.
    """
    return f"""
INSERT INTO rollups (bucket_ms, chain, {_GROUPS}, {_NAMES})
SELECT {bucket("at")}, %(chain)s, {_GROUPS}, {_summed()}
FROM ({source}) AS s GROUP BY 1, {_GROUPS}
ON CONFLICT ON CONSTRAINT rollups_group DO UPDATE SET {_added("rollups", NAMES)}"""


def added_wide(source: str) -> tuple[str, ...]:
    """The statements that add the rows of `source` to all wide tables.

    A row has `at`, the groups and the sums.
    """
    return tuple(
        statement
        for family in FAMILIES
        for statement in (_named(source, family), _folded(source, family))
    )


def _named(source: str, family: SpanFamily) -> str:
    """A statement that gives each group in `source` its number."""
    groups = ", ".join(family.groups)
    return (
        f"INSERT INTO {family.names} ({groups}) SELECT DISTINCT {groups} FROM ({source}) AS s "
        "ON CONFLICT DO NOTHING"
    )


def _folded(source: str, family: SpanFamily) -> str:
    """A statement that adds the rows of `source` to the wide tables; their groups have numbers.

    Looking for the numbers costs as much as a table does, so that it is done once for all tables.
    """
    groups = ", ".join(family.groups)
    added = [
        f"""INSERT INTO {table} (group_id, bucket_ms, {_NAMES})
SELECT group_id, {span.format(at="at")}, {_summed()} FROM summed GROUP BY 1, 2
ON CONFLICT (group_id, bucket_ms) DO UPDATE SET {_added(table, NAMES)}"""
        for table, span in family.wide
    ]
    before = "".join(f", added_{n} AS ({statement})" for n, statement in enumerate(added[:-1]))
    return f"""
WITH summed AS MATERIALIZED (
  SELECT g.id AS group_id, s.at, {", ".join(f"s.{name}" for name in NAMES)}
  FROM (
    SELECT {bucket("at")} AS at, {groups}, {_summed()} FROM ({source}) AS rows GROUP BY 1, {groups}
  ) AS s JOIN {family.names} AS g ON {_same_group(family)}
){before} {added[-1]}"""


def _same_group(family: SpanFamily) -> str:
    """The condition that `g` and `s` are of one group.

    A key has few groups, which its index finds. Without a key each row would be compared with each
    group; so they are hashed as arrays, in which null is equal to null.
    """
    equal = [f"g.{name} = s.{name}" for name in family.groups if name in _NEVER_NULL]
    rest = [name for name in family.groups if name not in _NEVER_NULL]
    if "key_id" in family.groups:
        equal += [f"g.{name} IS NOT DISTINCT FROM s.{name}" for name in rest]
    else:
        arrays = [f"ARRAY[{', '.join(f'{row}.{name}' for name in rest)}]" for row in "gs"]
        equal.append(" = ".join(arrays))
    return " AND ".join(equal)


def _summed() -> str:
    return ", ".join(f"sum({name}) AS {name}" for name in NAMES)


def _added(table: str, names: Sequence[str]) -> str:
    """How an upsert adds to each sum. null + 5 is 5, null + null is null."""
    return ", ".join(
        f"{name} = coalesce({table}.{name} + excluded.{name}, {table}.{name}, excluded.{name})"
        for name in names
    )
