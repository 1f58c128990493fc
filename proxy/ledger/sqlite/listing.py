"""Finds the rows of a choice in SQLite, quarter hour by quarter hour."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import QuestionRefused
from proxy.ledger.listing import (
    DAY_MS,
    EVER_MS,
    GROUPS_MAX,
    KEYS_MAX,
    Listing,
    Place,
    RowChoice,
    collected,
    top,
)
from proxy.ledger.spans import BUCKET_MS, Reach
from proxy.ledger.sqlite.archive import check_in_book
from proxy.ledger.sqlite.spans import buckets
from proxy.ledger.sqlite.sums import SUMS, wide

# The currency of the line on which a row counts: a late price moves what was booked before it.
_LINE: Final = """
CASE WHEN records.cost_nano IS NOT NULL THEN records.currency ELSE ifnull((
  SELECT iif(first.seq > records.seq, first.currency, NULL) FROM (
    SELECT priced.seq, priced.currency FROM records AS priced
    WHERE (priced.id = ifnull(records.adjusts, records.id)
      OR priced.adjusts = ifnull(records.adjusts, records.id))
      AND priced.cost_nano IS NOT NULL AND priced.seq <= :through
    ORDER BY priced.seq LIMIT 1) AS first), records.currency) END"""
_ROWS: Final = f"""
SELECT {_LINE}, {", ".join(COLUMNS)} FROM records
WHERE started_at_ms >= :from_ms AND started_at_ms <= :at_ms
  AND (started_at_ms, seq) < (:at_ms, :at_seq) AND seq <= :through{{chosen}}
ORDER BY started_at_ms DESC, seq DESC LIMIT :most"""
# The days on which groups have something, each with their keys.
_DAYS: Final = """
SELECT bucket_ms, json_group_array(DISTINCT key_id) FROM rollup_groups AS g
CROSS JOIN rollups_daily ON group_id = g.id AND bucket_ms >= ? AND bucket_ms < ?
WHERE {where} GROUP BY 1 ORDER BY 1 DESC"""
# A late price that has moved everything away leaves a line of nothing.
_SOMETHING: Final = " OR ".join(f"{name} <> 0" for name in wide(SUMS))


def listed(
    connection: sqlite3.Connection, reached: Reach, choice: RowChoice, before: int | None, most: int
) -> Listing:
    """See `Reader.listed`."""
    if choice.from_ms is not None:  # without a beginning the list ends where the records do
        check_in_book(connection, 0, choice.from_ms, choice.to_ms)
    upper = top(choice, None if before is None else _place(connection, before))
    values: dict[str, Any] = {"through": choice.through}
    chosen = ""
    for column, name in choice.names():
        chosen += f" AND {column} IS :{column}"
        values[column] = name
    if choice.currency is not UNSET:
        chosen += f" AND {_LINE} IS :line"
        values["line"] = choice.currency
    query = _ROWS.format(chosen=chosen)

    def find(from_ms: int, place: Place, limit: int) -> Sequence[Sequence[Any]]:
        at_ms, at_seq = place
        where = {"from_ms": from_ms, "at_ms": at_ms, "at_seq": at_seq, "most": limit}
        return connection.execute(query, values | where).fetchall()

    quarters = _quarters(connection, reached, choice, upper[0])
    return collected(choice, upper, most, quarters, find)


def last_used(
    connection: sqlite3.Connection, reached: Reach, keys: Sequence[str]
) -> dict[str, int]:
    """The last quarter hour with a row of each of these keys that has one."""
    found = {
        key: next(_quarters(connection, reached, RowChoice(through=0, key=key), EVER_MS), None)
        for key in keys
    }
    return {key: at_ms for key, at_ms in found.items() if at_ms is not None}


def _place(connection: sqlite3.Connection, seq: int) -> Place:
    query = "SELECT started_at_ms, seq FROM records WHERE seq = ?"
    row: Place | None = connection.execute(query, (seq,)).fetchone()
    if row is None:
        raise QuestionRefused(f"the book has no row of seq {seq}: begin with the first page")
    return row


def _quarters(
    connection: sqlite3.Connection, reached: Reach, choice: RowChoice, last_ms: int
) -> Iterator[int]:
    """The quarter hours up to a moment in which the choice may have rows, the last first."""
    from_ms, _ = choice.times()
    low_ms, end_ms = from_ms // BUCKET_MS * BUCKET_MS, last_ms + 1
    own = [choice.key] if isinstance(choice.key, str) else []
    folded_ms = reached.folded_until_ms
    where = " AND ".join(f"{column} IS ?" for column, _ in choice.group()) or "1"
    names = [name for _, name in choice.group()]
    if folded_ms == 0 or _are_many(connection, where, names):
        yield from _with_rows(connection, low_ms, end_ms, own)
        return
    yield from _with_rows(connection, max(low_ms, folded_ms), end_ms, own)
    end_ms = min(end_ms, folded_ms)
    query = _DAYS.format(where=where if choice.currency is UNSET else f"{where} AND ({_SOMETHING})")
    days = connection.execute(query, (low_ms // DAY_MS * DAY_MS, end_ms, *names)).fetchall()
    for day_ms, keys in days:
        first_ms, until_ms = max(low_ms, day_ms), min(end_ms, day_ms + DAY_MS)
        yield from _with_rows(connection, first_ms, until_ms, msgspec.json.decode(keys))


def _are_many(connection: sqlite3.Connection, where: str, names: Sequence[str | None]) -> bool:
    """Whether more than GROUPS_MAX groups have these names."""
    query = f"SELECT 1 FROM rollup_groups WHERE {where} LIMIT 1 OFFSET {GROUPS_MAX}"
    return connection.execute(query, names).fetchone() is not None


def _with_rows(
    connection: sqlite3.Connection, from_ms: int, to_ms: int, keys: Sequence[str]
) -> list[int]:
    """The quarter hours of a range with a row of one of the keys, if they are few; or any row."""
    found, bounds = buckets(from_ms, to_ms)
    if not 0 < len(keys) <= KEYS_MAX:
        query = f"SELECT bucket_ms FROM ({found}) ORDER BY bucket_ms DESC"
        return [ms for (ms,) in connection.execute(query, bounds)]
    query = (
        f"SELECT DISTINCT bucket_ms FROM rollups WHERE bucket_ms IN ({found}) "
        "AND key_id IN (SELECT value FROM json_each(?)) ORDER BY bucket_ms DESC"
    )
    asked = [*bounds, msgspec.json.encode(keys).decode()]
    return [ms for (ms,) in connection.execute(query, asked)]
