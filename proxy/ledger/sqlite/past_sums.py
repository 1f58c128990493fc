"""The statements that migrations were made of, as they were then.

Sums stayed at a bound of 63 bits in those versions. A migration's text never changes, so that these
do not follow the statements of today in `sums`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.sums import GROUPS, HALF, KEYED, MONEY, WIDE, Sums, same_group, wide

_SUM_MAX: Final = 2**63 - 1


def summed(name: str) -> str:
    """The bounded sum of any number of rows; SQLite's own `sum` fails past 63 bits."""
    return (
        f"max(-{_SUM_MAX}, min({_SUM_MAX}, sum({name} / {HALF}) * {HALF} + sum({name} % {HALF})))"
    )


def folded(table: str, span: str, source: str, of: Sums) -> str:
    """A statement that added the rows of `source` to a wide table."""
    sums = [
        sum
        for name, _ in of
        for sum in (
            [f"sum({name} / {HALF})", f"sum({name} % {HALF})"] if name in MONEY else [summed(name)]
        )
    ]
    same = same_group("g", "s", KEYED)
    return _upsert(table, span, of, sums, f"({source}) AS s JOIN {KEYED.names} AS g ON {same}")


def folded_on(table: str, span: str, where: str, of: Sums) -> str:
    """A statement that added spans of the narrowest wide table to a wider one.

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


def moved_into_rollups(where: str, of: Sums) -> str:
    """A statement that added to the quarter hours what late prices moved."""
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
    rows = moved(Columns([bucket], GROUPS, of), where)
    sums = ", ".join(f"sum({name})" for name, _ in of)
    return f"""
INSERT INTO rollups (bucket_ms, {", ".join(GROUPS)}, {", ".join(name for name, _ in of)})
SELECT bucket_ms, {", ".join(GROUPS)}, {sums} \
FROM ({rows}) GROUP BY 1, 2, 3, 4, 5, 6 {on_known_group(of)}"""


def on_known_group(of: Sums) -> str:
    """How an upsert added to the quarter hours."""
    return f"""
ON CONFLICT \
(bucket_ms, key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0)) \
DO UPDATE SET
{", ".join(_added(name) for name, _ in of)}"""


def _upsert(table: str, span: str, of: Sums, sums: Sequence[str], source: str) -> str:
    return f"""
INSERT INTO {table} (group_id, bucket_ms, {", ".join(wide(of))})
SELECT g.id, {span.format(at="s.at")}, {", ".join(sums)}
FROM {source} GROUP BY 1, 2
ON CONFLICT (group_id, bucket_ms) DO UPDATE SET {", ".join(map(_added, wide(of)))}"""


def _added(name: str) -> str:
    return (
        f"{name} = coalesce(max(-{_SUM_MAX}, min({_SUM_MAX}, {name} + excluded.{name})), {name}, "
        f"excluded.{name})"
    )
