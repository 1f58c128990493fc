"""Reads the book of all writers in its one order, a page at a time.

The place of a row in the book follows from its batch: `heads` says at which `seq` that ended. So a
stretch of the book is a few stretches of chains, and no row outside of them is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import stretches
from proxy.ledger.postgresql.archive import check_in_book
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.reading import Row, Stretch

LABEL_SEQS: Final = 16_384  # more than in a page: one column is read, and few of its values differ

# Where the chains have rows of the book's (after, through].
_PARTS: Final = """
SELECT chain, min(chain_seq - rows), max(chain_seq) FROM heads
WHERE seq > %(after)s
  AND seq <= coalesce((SELECT min(seq) FROM heads WHERE seq >= %(through)s), %(through)s)
GROUP BY chain ORDER BY chain"""
_SEQ: Final = "heads.seq - (records.head_seq - records.chain_seq)"
_PART: Final = f"""
SELECT {_SEQ} AS seq, records.* FROM records
JOIN heads ON heads.chain = records.chain AND heads.chain_seq = records.head_seq
WHERE records.chain = %(chain{{n}})s AND records.chain_seq > %(low{{n}})s
  AND records.chain_seq <= %(high{{n}})s AND {_SEQ} > %(after)s AND {_SEQ} <= %(through)s"""
_NO_PART: Final = "SELECT 0::bigint AS seq, records.* FROM records WHERE false"
_STARTED: Final = "WHERE started_at_ms >= %(from_ms)s AND started_at_ms < %(to_ms)s"
_PAGE: Final = f"SELECT {', '.join(COLUMNS)} FROM ({{rows}}) AS page {_STARTED} ORDER BY seq"
_LABELS: Final = f"SELECT DISTINCT labels FROM ({{rows}}) AS page {_STARTED}"
_CORRECTIONS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM book WHERE adjusts = ANY(%(ids)s::text[]) ORDER BY seq"
)
# The first and last seq of a range of time: within a chain, the order of rows is that of the book.
_ENDS: Final = f"""
SELECT min(first.seq - (first.chain_seq - low)), max(last.seq - (last.chain_seq - high)) FROM (
    SELECT chain, min(chain_seq) AS low, max(chain_seq) AS high FROM records {_STARTED}
    GROUP BY chain
) AS part
CROSS JOIN LATERAL (SELECT seq, chain_seq FROM heads WHERE heads.chain = part.chain
    AND chain_seq >= low ORDER BY chain_seq LIMIT 1) AS first
CROSS JOIN LATERAL (SELECT seq, chain_seq FROM heads WHERE heads.chain = part.chain
    AND chain_seq >= high ORDER BY chain_seq LIMIT 1) AS last"""


def head(connection: Connection) -> int:
    """See `Reader.head`."""
    [seq] = connection.execute("SELECT seq FROM cursor").fetchone() or (0,)
    return int(seq)


def in_book(connection: Connection, after: int, through: int) -> tuple[str, dict[str, Any]]:
    """A query for the records of (after, through] with their `seq`, and its values.

    The parts of the chains are looked up first and named in it: so their size is known when the
    query is planned, and a long book is not read for a short stretch.
    """
    values: dict[str, Any] = {"after": after, "through": through}
    parts = connection.execute(_PARTS, values).fetchall()
    for n, (chain, low, high) in enumerate(parts):
        values |= {f"chain{n}": chain, f"low{n}": low, f"high{n}": high}
    rows = " UNION ALL ".join(_PART.format(n=n) for n in range(len(parts)))
    return rows or _NO_PART, values


def narrowed(connection: Connection, stretch: Stretch) -> Stretch:
    """See `Reader.narrowed`."""
    check_in_book(connection, stretch.after, stretch.from_ms, stretch.to_ms)
    return stretches.narrowed(
        stretch, head(connection), lambda from_ms, to_ms: _ends(connection, from_ms, to_ms)
    )


def page(connection: Connection, stretch: Stretch) -> list[Row]:
    """All rows of a short stretch, oldest first. Raises QuestionRefused where it is archived."""
    check_in_book(connection, stretch.after, stretch.from_ms, stretch.to_ms)
    rows, values = in_book(connection, stretch.after, stretch.through)
    query = _PAGE.format(rows=rows)
    return connection.execute(query.encode(), values | _times(stretch)).fetchall()


def corrections(connection: Connection, ids: Sequence[object]) -> list[Row]:
    """The rows that correct these records, wherever they are booked."""
    return connection.execute(_CORRECTIONS.encode(), {"ids": list(ids)}).fetchall() if ids else []


def labels(connection: Connection, stretch: Stretch) -> set[str]:
    """The different texts of labels in a short stretch. Raises QuestionRefused as `page` does."""
    check_in_book(connection, stretch.after, stretch.from_ms, stretch.to_ms)
    rows, values = in_book(connection, stretch.after, stretch.through)
    query = _LABELS.format(rows=rows)
    return {text for (text,) in connection.execute(query.encode(), values | _times(stretch))}


def _ends(connection: Connection, from_ms: int, to_ms: int) -> tuple[int | None, int | None]:
    times = {"from_ms": from_ms, "to_ms": to_ms}
    return connection.execute(_ENDS.encode(), times).fetchone() or (None, None)


def _times(stretch: Stretch) -> dict[str, Any]:
    from_ms, to_ms = stretches.times(stretch)
    return {"from_ms": from_ms, "to_ms": to_ms}
