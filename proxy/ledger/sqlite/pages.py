"""Reads the book in its order, a page at a time, for work over any number of rows.

Each page is a transaction of its own, so none holds the write-ahead log for longer than a moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger import stretches
from proxy.ledger.reading import Page, Row, Stretch
from proxy.ledger.sqlite.archive import check_in_book

LABEL_SEQS = 16_384  # more than in a page: one column is read, and few of its values differ

_WHERE = "WHERE seq > ? AND seq <= ? AND started_at_ms >= ? AND started_at_ms < ?"
_PAGE = f"SELECT {', '.join(COLUMNS)} FROM records {_WHERE} ORDER BY seq"
_LABELS = f"SELECT DISTINCT labels FROM records {_WHERE}"
_ENDS = "SELECT min(seq), max(seq) FROM records WHERE started_at_ms >= ? AND started_at_ms < ?"
_HEAD = """
SELECT max(seq) FROM
  (SELECT max(seq) AS seq FROM records UNION ALL SELECT max(seq) FROM checkpoints)"""


def head(connection: sqlite3.Connection) -> int:
    """See `Reader.head`."""
    (seq,) = connection.execute(_HEAD).fetchone()
    return 0 if seq is None else int(seq)


def narrowed(connection: sqlite3.Connection, stretch: Stretch) -> Stretch:
    """See `Reader.narrowed`."""
    check_in_book(connection, stretch.after, stretch.from_ms, stretch.to_ms)
    return stretches.narrowed(
        stretch,
        head(connection),
        lambda from_ms, to_ms: connection.execute(_ENDS, (from_ms, to_ms)).fetchone(),
    )


def pages(
    connection: sqlite3.Connection, stretch: Stretch, page_seqs: int, *, corrected: bool
) -> Iterator[Page]:
    """See `Reader.pages`."""
    times = stretches.times(stretch)
    for after in range(stretch.after, stretch.through, page_seqs):
        upto = min(stretch.through, after + page_seqs)
        with moment(connection):
            # At each page: a month may be archived between two of them.
            check_in_book(connection, after, stretch.from_ms, stretch.to_ms)
            rows = connection.execute(_PAGE, (after, upto, *times)).fetchall()
            later = corrections(connection, [row[0] for row in rows]) if corrected else ()
        yield Page(upto, rows, later)


def label_names(connection: sqlite3.Connection, stretch: Stretch) -> list[str]:
    """See `Reader.label_names`."""
    times = stretches.times(stretch)
    found: set[str] = set()
    for after in range(stretch.after, stretch.through, LABEL_SEQS):
        upto = min(stretch.through, after + LABEL_SEQS)
        with moment(connection):
            check_in_book(connection, after, stretch.from_ms, stretch.to_ms)
            found.update(text for (text,) in connection.execute(_LABELS, (after, upto, *times)))
    return sorted(
        {name for text in found for name in msgspec.json.decode(text, type=dict[str, str])}
    )


@contextmanager
def moment(connection: sqlite3.Connection) -> Iterator[None]:
    """The book at one moment: what is asked in it agrees."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def corrections(connection: sqlite3.Connection, ids: Sequence[Value]) -> list[Row]:
    """The rows that correct these records, wherever they are booked."""
    marks = ", ".join("?" * len(ids))
    return (
        connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM records WHERE adjusts IN ({marks}) ORDER BY seq", ids
        ).fetchall()
        if ids
        else []
    )
