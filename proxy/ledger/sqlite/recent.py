"""Single records of the last minutes: what the rates of limits are rebuilt from at a start."""

from __future__ import annotations

import sqlite3
from typing import Any

from proxy.ledger.reading import Recent

# Records of the last two minutes stay apart; older ones are summed by the second, as if all had
# come at its end.
SINGLE_MS = 120_000

_SINGLE = """
SELECT started_at_ms, key_id, team, upstream, model_requested, currency, kind = 'usage',
  input_tokens, output_tokens, charge_nano
FROM records WHERE started_at_ms >= ?"""
_BY_SECOND = """
SELECT max(started_at_ms), key_id, team, upstream, model_requested, currency, sum(kind = 'usage'),
  sum(input_tokens), sum(output_tokens), sum(charge_nano)
FROM records WHERE started_at_ms >= ? AND started_at_ms < ?
GROUP BY started_at_ms / 1000, 2, 3, 4, 5, 6"""


def recent(connection: sqlite3.Connection, since_ms: int, now_ms: int) -> list[Recent]:
    """See `Reader.recent`."""
    # A rate with a large burst looks back further than SQLite can count.
    since_ms = max(since_ms, 0)
    single_ms = max(since_ms, now_ms - SINGLE_MS)
    rows: list[Any] = []
    if since_ms < single_ms:
        rows += connection.execute(_BY_SECOND, (since_ms, single_ms))
    rows += connection.execute(_SINGLE, (single_ms,))
    return sorted((Recent(*row) for row in rows), key=lambda row: row.started_at_ms)
