"""Finds the rows of a choice in PostgreSQL, quarter hour by quarter hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

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
from proxy.ledger.postgresql.archive import check_in_book
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.pages import in_book
from proxy.ledger.postgresql.sums import NAMES
from proxy.ledger.postgresql.texts import clean
from proxy.ledger.postgresql.usage import BUCKETS
from proxy.ledger.spans import BUCKET_MS

# The currency of the line on which a row counts: a late price moves what was booked before it.
_LINE: Final = """
CASE WHEN records.cost_nano IS NOT NULL THEN records.currency ELSE coalesce((
  SELECT CASE WHEN first.seq > records.seq THEN first.currency END FROM (
    SELECT priced.seq, priced.currency FROM book AS priced
    WHERE (priced.id = coalesce(records.adjusts, records.id)
      OR priced.adjusts = coalesce(records.adjusts, records.id))
      AND priced.cost_nano IS NOT NULL AND priced.seq <= %(through)s
    ORDER BY priced.seq LIMIT 1) AS first), records.currency) END"""
_ROWS: Final = f"""
SELECT {_LINE}, {", ".join(COLUMNS)} FROM book AS records
WHERE started_at_ms >= %(from_ms)s AND started_at_ms <= %(at_ms)s
  AND (started_at_ms < %(at_ms)s OR seq < %(at_seq)s) AND seq <= %(through)s{{chosen}}
ORDER BY started_at_ms DESC, seq DESC LIMIT %(most)s"""
# The days on which groups have something, each with their keys.
_DAYS: Final = """
SELECT bucket_ms, array_agg(DISTINCT key_id) FROM rollups_daily
JOIN rollup_groups ON id = group_id
WHERE bucket_ms >= %(low)s AND bucket_ms < %(high)s{where} GROUP BY 1 ORDER BY 1 DESC"""
# A late price that has moved everything away leaves a line of nothing.
_SOMETHING: Final = " OR ".join(f"{name} <> 0" for name in NAMES)
_OF_KEYS: Final = f"""
SELECT bucket.at FROM ({BUCKETS}) AS bucket
WHERE EXISTS (SELECT 1 FROM rollups WHERE bucket_ms = bucket.at AND key_id = ANY(%(keys)s::text[]))
ORDER BY 1 DESC"""
_OF_ANY: Final = f"SELECT bucket.at FROM ({BUCKETS}) AS bucket ORDER BY 1 DESC"


def listed(connection: Connection, choice: RowChoice, before: int | None, most: int) -> Listing:
    """See `Reader.listed`."""
    if choice.from_ms is not None:  # without a beginning the list ends where the records do
        check_in_book(connection, 0, choice.from_ms, choice.to_ms)
    upper = top(choice, None if before is None else _place(connection, before))
    values: dict[str, Any] = {"through": choice.through}
    chosen = _having(choice.names(), values)
    if choice.currency is not UNSET:
        chosen += f" AND ({_LINE}) IS NOT DISTINCT FROM %(line)s::text"
        values["line"] = None if choice.currency is None else clean(choice.currency)
    query = _ROWS.format(chosen=chosen).encode()

    def find(from_ms: int, place: Place, limit: int) -> Sequence[Sequence[Any]]:
        at_ms, at_seq = place
        where = {"from_ms": from_ms, "at_ms": at_ms, "at_seq": at_seq, "most": limit}
        return connection.execute(query, values | where).fetchall()

    quarters = _quarters(connection, choice, upper[0])
    return collected(choice, upper, most, quarters, find)


def last_used(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """The last quarter hour with a row of each of these keys that has one."""
    found = {
        key: next(_quarters(connection, RowChoice(through=0, key=key), EVER_MS), None)
        for key in keys
    }
    return {key: at_ms for key, at_ms in found.items() if at_ms is not None}


def _having(names: Sequence[tuple[str, str | None]], values: dict[str, Any]) -> str:
    """The conditions that columns have these names; their values go to `values`."""
    values |= {column: clean(name) for column, name in names if name is not None}
    return "".join(
        f" AND {column} IS NULL" if name is None else f" AND {column} = %({column})s"
        for column, name in names
    )


def _place(connection: Connection, seq: int) -> Place:
    rows, values = in_book(connection, seq - 1, seq)
    query = f"SELECT started_at_ms, seq FROM ({rows}) AS one"
    row = connection.execute(query.encode(), values).fetchone()
    if row is None:
        raise QuestionRefused(f"the book has no row of seq {seq}: begin with the first page")
    return int(row[0]), int(row[1])


def _quarters(connection: Connection, choice: RowChoice, last_ms: int) -> Iterator[int]:
    """The quarter hours up to a moment in which the choice may have rows, the last first."""
    from_ms, _ = choice.times()
    low_ms, end_ms = from_ms // BUCKET_MS * BUCKET_MS, last_ms + 1
    own = [clean(choice.key)] if isinstance(choice.key, str) else []
    [folded_ms] = connection.execute("SELECT folded_until_ms FROM fold").fetchone() or (0,)
    values: dict[str, Any] = {}
    where = _having(choice.group(), values)
    if folded_ms == 0 or _are_many(connection, where, values):
        yield from _with_rows(connection, low_ms, end_ms, own)
        return
    yield from _with_rows(connection, max(low_ms, folded_ms), end_ms, own)
    end_ms = min(end_ms, folded_ms)
    values |= {"low": low_ms // DAY_MS * DAY_MS, "high": end_ms}
    something = "" if choice.currency is UNSET else f" AND ({_SOMETHING})"
    query = _DAYS.format(where=where + something)
    for day_ms, keys in connection.execute(query.encode(), values).fetchall():
        first_ms, until_ms = max(low_ms, day_ms), min(end_ms, day_ms + DAY_MS)
        yield from _with_rows(connection, first_ms, until_ms, keys)


def _are_many(connection: Connection, where: str, values: dict[str, Any]) -> bool:
    """Whether more than GROUPS_MAX groups have these names."""
    query = f"SELECT 1 FROM rollup_groups WHERE true{where} LIMIT 1 OFFSET {GROUPS_MAX}"
    return connection.execute(query.encode(), values).fetchone() is not None


def _with_rows(connection: Connection, from_ms: int, to_ms: int, keys: Sequence[str]) -> list[int]:
    """The quarter hours of a range with a row of one of the keys, if they are few; or any row."""
    few = 0 < len(keys) <= KEYS_MAX
    asked: dict[str, Any] = {"low": from_ms, "high": to_ms}
    if few:
        asked["keys"] = list(keys)
    rows = connection.execute((_OF_KEYS if few else _OF_ANY).encode(), asked)
    return [ms for (ms,) in rows]
