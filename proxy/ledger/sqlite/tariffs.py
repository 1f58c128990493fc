"""Sums by tariff in SQLite: the tariffs are a temporary table of the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import stretches, tariffs
from proxy.ledger.reading import Stretch, Tariff, TariffPage
from proxy.ledger.sqlite.archive import check_in_book
from proxy.ledger.sqlite.pages import corrections, moment
from proxy.ledger.tariffs import NAMES, NUMBERS

PAGE_SEQS: Final = 16_384  # some dozens of milliseconds
# The names that differ most come first; the rest lies in the index too, to be found in one step.
_ORDER: Final = ("model_requested", "team", "upstream", "model_served")
_INDEX: Final = (*_ORDER, *(name for name in NAMES if name not in _ORDER), *NUMBERS)
_TABLE: Final = (
    f"CREATE TABLE temp.tariffs (place INTEGER PRIMARY KEY, {', '.join(f'{n} TEXT' for n in NAMES)}"
    f", {', '.join(f'{n} INTEGER' for n in NUMBERS)}) STRICT",
    f"CREATE INDEX temp.tariffs_names ON tariffs ({', '.join(_INDEX)})",
)
_INSERT: Final = (
    f"INSERT INTO temp.tariffs VALUES ({', '.join('?' * (1 + len(NAMES) + len(NUMBERS)))})"
)
_SUMS: Final = tariffs.query(
    "records",
    "temp.tariffs",
    " AND ".join(f"r.{name} IS t.{name}" for name in NAMES),
    "r.seq > ? AND r.seq <= ? AND r.started_at_ms >= ? AND r.started_at_ms < ?",
    "LIMIT -1",
    "NOT EXISTS (SELECT 1 FROM records AS later WHERE later.adjusts = r.id)",
)
_ROWS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM records WHERE seq IN (SELECT value FROM json_each(?)) "
    "ORDER BY seq"
)


def pages(
    connection: sqlite3.Connection,
    stretch: Stretch,
    known: Sequence[Tariff],
    page_seqs: int = PAGE_SEQS,
) -> Iterator[TariffPage]:
    """See `Reader.by_tariff`."""
    times = stretches.times(stretch)
    for statement in _TABLE:
        connection.execute(statement)
    placed = 0

    def sums(after: int, upto: int) -> tariffs.Summed:
        nonlocal placed
        new = [(n, *known[n].texts(), *known[n].numbers()) for n in range(placed, len(known))]
        connection.executemany(_INSERT, new)
        placed += len(new)
        with moment(connection):
            # At each page, and with what it reads: a month may be archived between two of them.
            check_in_book(connection, after, stretch.from_ms, stretch.to_ms)
            return connection.execute(_SUMS, (after, upto, *times)).fetchall()

    def rows(seqs: Sequence[int]) -> tuple[tariffs.Rows, tariffs.Rows]:
        if not seqs:
            return (), ()
        with moment(connection):
            check_in_book(connection, seqs[0] - 1, stretch.from_ms, stretch.to_ms)
            found = connection.execute(_ROWS, (msgspec.json.encode(seqs).decode(),)).fetchall()
            return found, corrections(connection, [row[0] for row in found])

    yield from tariffs.paged(stretch.after, stretch.through, page_seqs, sums, rows)
