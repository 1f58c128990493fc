"""What the counts of limits are rebuilt from at a start, beside sums of the book.

Single records of the last minutes, and what was used for each end user or value of a tag.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from proxy.ledger.reading import SINGLE_MS, Recent, ValueUse
from proxy.ledger.sqlite.archive import check_in_book
from proxy.ledger.sqlite.sums import of_halves, summed_halves

_SINGLE = """
SELECT started_at_ms, key_id, team, upstream, model_requested, currency, kind = 'usage',
  input_tokens, output_tokens, charge_nano, end_user, tags
FROM records WHERE started_at_ms >= ?"""
# Entries by hand of one order are of one moment: their sums may be beyond 63 bits.
_USED = ", ".join(map(summed_halves, ("input_tokens", "output_tokens", "charge_nano")))
_BY_SECOND = f"""
SELECT max(started_at_ms), key_id, team, upstream, model_requested, currency, sum(kind = 'usage'),
  {_USED}, end_user, tags
FROM records WHERE started_at_ms >= ? AND started_at_ms < ?
GROUP BY started_at_ms / 1000, 2, 3, 4, 5, 6, 14, 15"""
# No index has the values, and no roll-up: all records of the window are read.
_BY_VALUE = f"""
SELECT {{value}}, key_id, team, upstream, model_requested, currency, sum(kind = 'usage'), {_USED}
FROM records WHERE started_at_ms >= ? GROUP BY 1, 2, 3, 4, 5, 6"""


def recent(connection: sqlite3.Connection, since_ms: int, now_ms: int) -> list[Recent]:
    """See `Reader.recent`."""
    # A rate with a large burst looks back further than SQLite can count.
    since_ms = max(since_ms, 0)
    single_ms = max(since_ms, now_ms - SINGLE_MS)
    rows: list[Any] = []
    if since_ms < single_ms:
        rows += map(_whole, connection.execute(_BY_SECOND, (since_ms, single_ms)))
    rows += connection.execute(_SINGLE, (single_ms,))
    return sorted(map(_recent, rows), key=lambda row: row.started_at_ms)


def used_by_value(connection: sqlite3.Connection, tag: str | None, since_ms: int) -> list[ValueUse]:
    """See `Reader.used_by_value`."""
    check_in_book(connection, 0, since_ms, None)
    if tag is None:
        rows = connection.execute(_BY_VALUE.format(value="end_user"), (since_ms,))
    else:
        of_tag = "(SELECT value FROM json_each(tags) WHERE key = ?)"
        rows = connection.execute(_BY_VALUE.format(value=of_tag), (tag, since_ms))
    return [ValueUse(*_whole(row)) for row in rows]


def _whole(row: Any) -> tuple[Any, ...]:
    """A row with the three sums in one number each."""
    halves = row[7:13]
    return (*row[:7], *map(of_halves, halves[::2], halves[1::2]), *row[13:])


def _recent(row: Any) -> Recent:
    tags = {} if row[-1] == "{}" else msgspec.json.decode(row[-1], type=dict[str, str])
    return Recent(*(*row[:-1], tags))
