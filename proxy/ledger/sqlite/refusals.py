"""Refused requests in the book's database: sums of a quarter hour, to which later ones are added.

They are no part of the chain, since nobody is billed for them. All is synchronous.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proxy.ledger import Refusal
from proxy.ledger.reading import RefusalSum

ANSWERABLE_SINCE = 11  # the schema version
_EVER_MS = 2**63 - 1

# Whose team the key was in at that time, and which limit said no. Of older rows neither is known.
# A null is no value that a unique index compares: 0 stands for it, and no text equals that.
ANSWERABLE = """
ALTER TABLE refusals ADD COLUMN team TEXT;
ALTER TABLE refusals ADD COLUMN limit_id TEXT;
DROP INDEX refusals_group;
CREATE UNIQUE INDEX refusals_group ON refusals
    (bucket_ms, ifnull(key_id, 0), code, ifnull(team, 0), ifnull(limit_id, 0));
"""
_ADD = (
    "INSERT INTO refusals (bucket_ms, key_id, code, count, team, limit_id) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (bucket_ms, ifnull(key_id, 0), code, ifnull(team, 0), "
    "ifnull(limit_id, 0)) DO UPDATE SET count = count + excluded.count"
)


def add(connection: sqlite3.Connection, refusals: Sequence[Refusal]) -> None:
    """Add these counts to those that are there, in the transaction that is open."""
    connection.executemany(
        _ADD, [(r.bucket_ms, r.key_id, r.code, r.count, r.team, r.limit_id) for r in refusals]
    )


def sums(
    connection: sqlite3.Connection, schema_version: int, from_ms: int | None, to_ms: int | None
) -> list[RefusalSum]:
    """See `Reader.refusals`."""
    answerable = "team, limit_id" if schema_version >= ANSWERABLE_SINCE else "NULL, NULL"
    query = (
        f"SELECT key_id, code, sum(count), min(bucket_ms), max(bucket_ms), {answerable} "
        "FROM refusals WHERE bucket_ms >= ? AND bucket_ms < ? "
        "GROUP BY 1, 2, 6, 7 ORDER BY 3 DESC, 1, 2, 6, 7"
    )
    bounds = (0 if from_ms is None else from_ms, _EVER_MS if to_ms is None else to_ms)
    return [RefusalSum(*row) for row in connection.execute(query, bounds)]
