"""What the counts of limits are rebuilt from at a start, beside sums of the book, in PostgreSQL.

Single records of the last minutes, and what was used for each end user or value of a tag.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.ledger.postgresql.archive import check_in_book
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.texts import clean
from proxy.ledger.postgresql.values import json_value
from proxy.ledger.reading import SINGLE_MS, Recent, ValueUse

_SUMS: Final = (
    "count(*) FILTER (WHERE kind = 'usage'), sum(input_tokens), sum(output_tokens),"
    " sum(charge_nano)"
)
_SINGLE: Final = """
SELECT started_at_ms, key_id, team, upstream, model_requested, currency,
  CASE kind WHEN 'usage' THEN 1 ELSE 0 END, input_tokens, output_tokens, charge_nano, end_user, tags
FROM records WHERE started_at_ms >= %(since_ms)s"""
_BY_SECOND: Final = f"""
SELECT max(started_at_ms), key_id, team, upstream, model_requested, currency, {_SUMS}, end_user,
  tags
FROM records WHERE started_at_ms >= %(since_ms)s AND started_at_ms < %(until_ms)s
GROUP BY started_at_ms / 1000, 2, 3, 4, 5, 6, 11, 12"""
# No index has the values, and no roll-up: all records of the window are read.
_BY_VALUE: Final = f"""
SELECT {{value}}, key_id, team, upstream, model_requested, currency, {_SUMS}
FROM records WHERE started_at_ms >= %(since_ms)s GROUP BY 1, 2, 3, 4, 5, 6"""
_EVER_MS: Final = 2**63 - 1


def recent(connection: Connection, since_ms: int, now_ms: int) -> list[Recent]:
    """See `Reader.recent`."""
    # A rate with a large burst looks back further than any clock has run.
    since_ms = max(since_ms, 0)
    single_ms = max(since_ms, now_ms - SINGLE_MS)
    rows: list[Any] = []
    if since_ms < single_ms:
        bounds = {"since_ms": since_ms, "until_ms": single_ms}
        rows += connection.execute(_BY_SECOND.encode(), bounds)
    rows += connection.execute(_SINGLE, {"since_ms": single_ms})
    return sorted(map(_recent, rows), key=lambda row: row.started_at_ms)


def used_by_value(connection: Connection, tag: str | None, since_ms: int) -> list[ValueUse]:
    """See `Reader.used_by_value`."""
    check_in_book(connection, 0, since_ms, None)
    value = "end_user" if tag is None else json_value("tags", "%(tag)s")
    values = {"since_ms": max(-_EVER_MS, since_ms)}
    named = {} if tag is None else {"tag": clean(tag)}
    rows = connection.execute(_BY_VALUE.format(value=value).encode(), {**values, **named})
    return [ValueUse(*(*row[:6], *map(_whole, row[6:]))) for row in rows]


def _recent(row: Any) -> Recent:
    tags = {} if row[-1] == "{}" else msgspec.json.decode(row[-1], type=dict[str, str])
    return Recent(*(*row[:6], *map(_whole, row[6:10]), row[10], tags))


def _whole(value: Any) -> Any:
    """A sum comes as a decimal number, which has no places."""
    return None if value is None else int(value)
