"""Reads the book in its order, a page at a time: for what goes through many rows, however many
there are.

Each page is a read of its own over some seqs. Rows are never changed and seqs are given in commit
order, so what is read up to a fixed
seq is the same however often and however slowly it is read; and no page holds the write-ahead log
for longer than a moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec

from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger import LedgerError
from proxy.ledger.sqlite.queries import connected, reading

PAGE_SEQS = 256  # a quarter of a megabyte in the file, two in memory, some milliseconds of reading
LABEL_SEQS = 16_384  # of these only one column is read, and few of its values differ

Row = tuple[Value, ...]  # in the order of COLUMNS

_PAGE = f"SELECT {', '.join(COLUMNS)} FROM records WHERE seq > ? AND seq <= ? AND started_at_ms >= ? AND started_at_ms < ? ORDER BY seq"
_LABELS = "SELECT DISTINCT labels FROM records WHERE seq > ? AND seq <= ? AND started_at_ms >= ? AND started_at_ms < ?"
_ENDS = "SELECT min(seq), max(seq) FROM records WHERE started_at_ms >= ? AND started_at_ms < ?"
_HEAD = "SELECT max(seq) FROM (SELECT max(seq) AS seq FROM records UNION ALL SELECT max(seq) FROM checkpoints)"
_ALWAYS_MS = (-(2**63), 2**63 - 1)


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: seqs in (after, through], started in [from_ms, to_ms), open where None."""

    after: int = 0
    through: int
    from_ms: int | None = None
    to_ms: int | None = None


class Page(msgspec.Struct, frozen=True):
    """The stretch's rows up to `upto_seq`, oldest first; there may be none. And what corrects them,
    if it was asked for, however late it was booked."""

    upto_seq: int
    rows: Sequence[Row]
    corrections: Sequence[Row] = ()


def head(path: Path) -> int:
    """The last seq of the book, 0 when it is empty. Raises LedgerError without a ledger,
    LedgerUnavailable when SQLite cannot read it."""
    with reading(path) as connection:
        return _head(connection)


def narrowed(path: Path, stretch: Stretch) -> Stretch:
    """The same rows between closer ends: a month in the middle of years is found where it lies.
    Raises LedgerError when the book does not reach that far."""
    with reading(path) as connection:
        if stretch.through > (last := _head(connection)):
            raise LedgerError(
                f"the ledger ends at seq {last}, before {stretch.through}: it is not the one that this number was printed for, or an older copy"
            )
        if stretch.from_ms is None and stretch.to_ms is None:
            return stretch
        low, high = connection.execute(_ENDS, _times(stretch)).fetchone()
    if low is None or low > stretch.through or high <= stretch.after:
        return msgspec.structs.replace(stretch, after=stretch.through)
    return msgspec.structs.replace(
        stretch, after=max(stretch.after, low - 1), through=min(stretch.through, high)
    )


def pages(
    path: Path, stretch: Stretch, page_seqs: int = PAGE_SEQS, *, corrected: bool = False
) -> Generator[Page, None, None]:
    """The stretch, page by page; the last page's `upto_seq` is `through`. Close it if it is not
    read to its end. Raises as `head`."""
    times = _times(stretch)
    with connected(path) as connection:
        for first in range(stretch.after + 1, stretch.through + 1, page_seqs):
            upto = min(stretch.through, first + page_seqs - 1)
            rows = connection.execute(_PAGE, (first - 1, upto, *times)).fetchall()
            yield Page(
                upto, rows, _corrections(connection, [row[0] for row in rows]) if corrected else ()
            )


def label_names(path: Path, stretch: Stretch) -> list[str]:
    """The names of all labels in the stretch, sorted. Raises as `head`."""
    times = _times(stretch)
    found: set[str] = set()
    with connected(path) as connection:
        for first in range(stretch.after, stretch.through, LABEL_SEQS):
            upto = min(stretch.through, first + LABEL_SEQS)
            found.update(text for (text,) in connection.execute(_LABELS, (first, upto, *times)))
    return sorted(
        {name for text in found for name in msgspec.json.decode(text, type=dict[str, str])}
    )


def _corrections(connection: sqlite3.Connection, ids: Sequence[Value]) -> list[Row]:
    marks = ", ".join("?" * len(ids))
    return (
        connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM records WHERE adjusts IN ({marks}) ORDER BY seq", ids
        ).fetchall()
        if ids
        else []
    )


def _times(stretch: Stretch) -> tuple[int, int]:
    return _ALWAYS_MS[0] if stretch.from_ms is None else stretch.from_ms, _ALWAYS_MS[
        1
    ] if stretch.to_ms is None else stretch.to_ms


def _head(connection: sqlite3.Connection) -> int:
    (seq,) = connection.execute(_HEAD).fetchone()
    return 0 if seq is None else int(seq)
