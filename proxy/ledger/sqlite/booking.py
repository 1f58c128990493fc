"""The booking transaction, all or nothing, on one SQLite connection.

It writes rows, chain, roll-ups, seal, journal position, salts, prices and refusals. It is
synchronous.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.records.canonical import (
    COLUMNS,
    GENESIS,
    Value,
    chained_rows,
    fitted,
    key_name,
    record_from,
    seal,
)
from proxy.core.usage import UsageRecord
from proxy.ledger import BATCH_MAX, Batch, Booked, LedgerUnavailable
from proxy.ledger.sorting_out import served, sorted_out
from proxy.ledger.sqlite import refusals
from proxy.ledger.sqlite.adding import add
from proxy.ledger.sqlite.inserting import Inserter
from proxy.ledger.sqlite.rollups import fold
from proxy.ledger.sqlite.sums import moved_into_rollups, summed_records

# Which models each upstream has served for which names: a strict limit on money assumes the dearest
# of them.
SERVED_MODELS = """
CREATE TABLE served_models (
    upstream TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    model_served TEXT NOT NULL,
    PRIMARY KEY (upstream, model_requested, model_served)
) STRICT, WITHOUT ROWID;
INSERT INTO served_models
SELECT DISTINCT upstream, model_requested, model_served FROM records
WHERE model_requested IS NOT NULL AND model_served IS NOT NULL;
"""

# Look-ups by id come in fixed sizes: any other number of ids would be one more cached statement.
# Random batch sizes once made the process grow to 130 MB.
_SIZES = (64, 16, 1)
_T = TypeVar("_T")

_KNOWN = {n: f"SELECT id FROM records WHERE id IN ({', '.join('?' * n)})" for n in _SIZES}
_HEAD = (
    "SELECT seq, hash FROM (SELECT seq, hash FROM records UNION ALL SELECT seq, hash FROM "
    "checkpoints) ORDER BY seq DESC LIMIT 1"
)
_STORED = f"SELECT {', '.join(COLUMNS)} FROM records WHERE id = ?"
_STORED_OF = {
    n: f"SELECT {', '.join(COLUMNS)} FROM records WHERE id IN ({', '.join('?' * n)})"
    for n in _SIZES
}
_CORRECTIONS = f"SELECT {', '.join(COLUMNS)} FROM records WHERE adjusts = ? ORDER BY seq"
_SEAL = "INSERT INTO heads (seq, hash, booked_at_ms, key_name, seal) VALUES (?, ?, ?, ?, ?)"
_POSITION = (
    "INSERT INTO journal_positions (writer, seq) VALUES (?, ?) ON CONFLICT (writer) DO UPDATE SET "
    "seq = excluded.seq"
)
_SALT = "INSERT INTO end_users (lookup, salt) VALUES (?, ?) ON CONFLICT (lookup) DO NOTHING"
_SERVED = (
    "INSERT INTO served_models (upstream, model_requested, model_served) VALUES (?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
# A trigger ignores a version that is known.
_PRICE_VERSION = "INSERT INTO price_versions (version, stored_at_ms, terms) VALUES (?, ?, ?)"


# Sums only the rows that this transaction inserted (seq above the old head), so that a replayed
# batch cannot count twice.
_ROLL_UP = summed_records("seq > ?")
_MOVE = moved_into_rollups("{row}.seq > ?")


class Booker:
    """Books batches on one connection, which nothing else writes with.

    `now_ms` is the wall clock for booked_at_ms.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        now_ms: Callable[[], int],
        fail: FaultPoint = no_fault,
    ) -> None:
        self._connection = connection
        self.key = key
        self._key_name = key_name(key)
        self._rows = Inserter(connection)
        self._now_ms = now_ms
        self._fail = fail

    def book(self, batch: Batch) -> Booked:
        """One batch in one transaction; see `Ledger.book`."""
        execute, executemany = self._connection.execute, self._connection.executemany
        position = batch.position
        if position is None and batch.closes:
            position = batch.closes[-1][0]

        def whole() -> Booked:
            executemany(_SALT, batch.salts)
            if batch.price_versions:
                now_ms = self._now_ms()
                executemany(
                    _PRICE_VERSION,
                    [(version, now_ms, terms) for version, terms in batch.price_versions],
                )
            booked = self._booked([record for _, record in batch.closes])
            if position is not None:
                execute(_POSITION, (batch.writer, position))
            refusals.add(self._connection, batch.refusals)
            return booked

        return self.transaction(whole)

    def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """Book adjustments in one transaction; see `Ledger.adjust`. Raises LedgerUnavailable."""
        assert all(record.kind == "adjustment" for record in adjustments), (
            "what was used comes through a journal"
        )
        return self.transaction(lambda: self._booked(adjustments))

    def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """The records under these ids. Raises LedgerUnavailable when a row cannot be read."""
        found = [
            record for part in _parts(ids) for record in self._stored(_STORED_OF[len(part)], *part)
        ]
        return {record.id: record for record in found}

    def position(self, writer: str) -> int:
        """The journal seq up to which this writer's closes are booked."""
        row = self._read("SELECT seq FROM journal_positions WHERE writer = ?", (writer,)).fetchone()
        return 0 if row is None else int(row[0])

    def salts(self) -> dict[str, bytes]:
        """Every end user's salt by look-up value."""
        return dict(self._read("SELECT lookup, salt FROM end_users"))

    def transaction(self, work: Callable[[], _T]) -> _T:
        """Do all of the work or none of it. It is on the disk when this returns."""
        try:
            self._fail("ledger.book.before")
            self._connection.execute("BEGIN IMMEDIATE")
            booked = work()
            self._fail("ledger.book.inside")
            self._connection.execute("COMMIT")
            self._fail("ledger.book.after")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error | OSError):
                raise LedgerUnavailable(str(error)) from error
            raise
        return booked

    def _booked(self, records: Sequence[UsageRecord]) -> Booked:
        """Append the records that are not booked yet."""
        assert len(records) <= BATCH_MAX, (
            "the bound on a batch is what keeps its sums within 63 bits"
        )
        fresh, booked = sorted_out(records, self, fitted)
        if fresh:
            self._append(fresh)
        return booked

    def _append(self, records: Sequence[UsageRecord]) -> None:
        """Put the records into the chain, add them to the roll-ups, and seal the new head."""
        execute = self._connection.execute
        row = execute(_HEAD).fetchone()
        old_head, old_hash = (0, GENESIS) if row is None else row
        seq, now_ms = old_head + len(records), self._now_ms()
        rows, row_hash = chained_rows(records, old_head, old_hash, now_ms)
        inserted = self._rows.insert(rows)
        assert inserted == len(rows), "a row was ignored although its id and seq were new"
        add(self._connection, _ROLL_UP, (old_head,))
        self._connection.executemany(_SERVED, served(records))
        if any(record.adjusts is not None for record in records):
            add(self._connection, _MOVE, (old_head,))
        fold(self._connection, old_head, [record.started_at_ms for record in records], now_ms)
        execute(
            _SEAL, (seq, row_hash, now_ms, self._key_name, seal(self.key, seq, now_ms, row_hash))
        )

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are booked."""
        return {
            row[0]
            for part in _parts(ids)
            for row in self._connection.execute(_KNOWN[len(part)], part)
        }

    def booked(self, id: str) -> UsageRecord:
        """The record under an id that is known."""
        return self._stored(_STORED, id)[0]

    def corrections(self, id: str) -> list[UsageRecord]:
        """What adjusts this record, in the order of booking."""
        return self._stored(_CORRECTIONS, id)

    def _stored(self, query: str, *ids: str) -> list[UsageRecord]:
        try:
            rows = self._read(query, ids)
            return [record_from(dict(zip(COLUMNS, row, strict=True))) for row in rows]
        except msgspec.MsgspecError as error:
            named = ids[0] if len(ids) == 1 else f"one of {len(ids)} from {ids[0]} on"
            raise LedgerUnavailable(
                f"the booked row {named} cannot be read back: {error}"
            ) from error

    def _read(self, query: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(query, parameters)
        except sqlite3.Error as error:
            raise LedgerUnavailable(str(error)) from error

    def _roll_back(self) -> None:
        """End a failed transaction, unless SQLite has ended it already."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # the caller reports the error that came first


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items in parts of the fixed statement sizes."""
    start = 0
    while start < len(items):
        size = next(n for n in _SIZES if n <= len(items) - start)
        yield items[start : start + size]
        start += size
