"""The booking transaction in PostgreSQL, all or nothing.

It writes rows, chain, roll-ups, seal, journal position, salts, prices and refusals. Each writer has
a chain of its own, so that writers wait for each other only at the very end: there one after the
other takes the next numbers of the book and commits. So a reader that sees a number sees all below.

All is synchronous. Locks and rows are taken in one order everywhere: the chain, price versions and
salts, corrections, roll-ups, served models, refusals, the end of the book.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from psycopg import Cursor

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.records.canonical import GENESIS, Value, chained_rows, key_name, seal
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Booked, LedgerError, LedgerSetBack, LedgerUnavailable
from proxy.ledger.postgresql import folding, statements
from proxy.ledger.postgresql.connection import CHAIN, COMMITTING, LEDGER, Connection, lock
from proxy.ledger.postgresql.digests import digest
from proxy.ledger.postgresql.found import FoundRecords
from proxy.ledger.postgresql.line import Line, number
from proxy.ledger.postgresql.texts import clean, cleaned, storable
from proxy.ledger.sorting_out import served, sorted_out

BATCH_MAX: Final = 256  # records a transaction: twice as many a second as with 64
ADJUSTING: Final = "adjustments"  # the chain of what comes from no journal

_LOG = logging.getLogger("tollkeeper.ledger")


class _State(msgspec.Struct, frozen=True):
    """How a writer's part of the book stands when its transaction begins."""

    chain_seq: int
    hash: bytes
    position: int
    batch: str | None
    known: frozenset[str]


class _Try(msgspec.Struct, frozen=True):
    """A batch on its way: a token that its transaction writes, and what it came to."""

    batch: Batch
    token: str
    booked: Booked | None = None


class PostgresBooker:
    """Books batches over one line. `now_ms` is the wall clock for booked_at_ms."""

    def __init__(
        self, line: Line, key: bytes, now_ms: Callable[[], int], fail: FaultPoint = no_fault
    ) -> None:
        self._line = line
        self.key = key
        self._key_name = key_name(key)
        self._now_ms = now_ms
        self.fail = fail
        self._tries: dict[str, _Try] = {}
        self._confirmed: dict[str, int] = {}  # positions whose commit was confirmed

    def book(self, batch: Batch) -> Booked:
        """One batch in one transaction; see `Ledger.book`."""
        position = batch.position
        if position is None and batch.closes:
            position = batch.closes[-1][0]
        attempt = self._attempt(batch)

        def whole(connection: Connection) -> tuple[Booked, int]:
            state = self._state(connection, batch.writer, [record for _, record in batch.closes])
            if state.batch == attempt.token and attempt.booked is not None:
                return attempt.booked, 0  # the answer to its commit was lost
            self._check_confirmed(batch.writer, state.position)
            self._put_around(connection, batch)
            records = [record for _, record in batch.closes]
            booked, fresh = self._put_records(connection, batch.writer, records, state)
            with connection.pipeline():
                if position is not None or batch.refusals:
                    place = state.position if position is None else position
                    connection.execute(statements.POSITION, (batch.writer, place, attempt.token))
                _put_refusals(connection, batch)
                ended = self._end(connection, batch.writer, fresh)
            self._tries[batch.writer] = msgspec.structs.replace(attempt, booked=booked)
            return booked, _add_late(connection, batch.writer, fresh, ended)

        booked, until_ms = self._transaction(batch.writer, whole)
        if position is not None:
            self._confirmed[batch.writer] = position
        self._fold(until_ms)
        return booked

    def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """Book adjustments in one transaction; see `Ledger.adjust`. Raises LedgerUnavailable."""
        assert all(record.kind == "adjustment" for record in adjustments), (
            "what was used comes through a journal"
        )

        def whole(connection: Connection) -> tuple[Booked, int]:
            state = self._state(connection, ADJUSTING, adjustments)
            booked, fresh = self._put_records(connection, ADJUSTING, adjustments, state)
            with connection.pipeline():
                ended = self._end(connection, ADJUSTING, fresh)
            return booked, _add_late(connection, ADJUSTING, fresh, ended)

        booked, until_ms = self._transaction(ADJUSTING, whole)
        self._fold(until_ms)
        return booked

    def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """The records under these ids. Raises LedgerUnavailable when a row cannot be read."""
        wanted = [clean(id) for id in ids]
        return self._line.ask(lambda connection: FoundRecords(connection, ()).all_of(wanted))

    def position(self, writer: str) -> int:
        """The journal seq up to which this writer's closes are booked.

        From then on no other process books as this writer.
        """
        self._line.own(writer)
        row = self._line.ask(
            lambda connection: connection.execute(statements.POSITION_OF, (writer,)).fetchone()
        )
        found = 0 if row is None else int(row[0])
        self._confirmed[writer] = found
        return found

    def salts(self) -> dict[str, bytes]:
        """Every end user's salt by look-up value."""
        return dict(
            self._line.ask(lambda connection: connection.execute(statements.SALTS).fetchall())
        )

    def _attempt(self, batch: Batch) -> _Try:
        """The earlier try of this batch, if its writer's last one failed, or a new one."""
        last = self._tries.get(batch.writer)
        if last is None or last.batch is not batch:
            last = _Try(batch, secrets.token_hex(8))
            self._tries[batch.writer] = last
        return last

    def _transaction(
        self, chain: str, whole: Callable[[Connection], tuple[Booked, int]]
    ) -> tuple[Booked, int]:
        begin = f"SELECT pg_advisory_xact_lock({lock(CHAIN, number(chain))})"
        return self._line.transaction(whole, begin=begin, fail=self.fail)

    def _state(self, connection: Connection, chain: str, records: Sequence[UsageRecord]) -> _State:
        ids = [clean(record.id) for record in records]
        bounds = {"first": min(ids, default=""), "last": max(ids, default="")}
        row = connection.execute(statements.STATE, {"chain": chain, "ids": ids, **bounds})
        chain_seq, row_hash, position, batch, known = row.fetchone() or (None,) * 5
        return _State(
            chain_seq=chain_seq or 0,
            hash=GENESIS if row_hash is None else row_hash,
            position=position or 0,
            batch=batch,
            known=frozenset(known or ()),
        )

    def _put_around(self, connection: Connection, batch: Batch) -> None:
        """Put what the records of this batch, or of later ones, are explained with."""
        if batch.price_versions:
            now_ms = self._now_ms()
            versions = [(version, now_ms, terms) for version, terms in sorted(batch.price_versions)]
            connection.cursor().executemany(statements.PRICE_VERSION, versions)
        if batch.salts:
            connection.cursor().executemany(statements.SALT, sorted(batch.salts))

    def _put_records(
        self, connection: Connection, chain: str, records: Sequence[UsageRecord], state: _State
    ) -> tuple[Booked, list[list[Value]]]:
        """Append the records that are not booked yet to the chain, and add them to the roll-ups."""
        assert len(records) <= BATCH_MAX, "larger batches hold the end of the book too long"
        found = FoundRecords(connection, state.known)
        if any(record.adjusts is not None for record in records):
            found.hold_corrections()
        fresh, booked = sorted_out(records, found, storable)
        rows, _ = chained_rows(fresh, state.chain_seq, state.hash, self._now_ms())
        if not rows:
            return booked, rows
        _copy(connection, chain, rows)
        old = {"chain": chain, "old": state.chain_seq}
        with connection.pipeline():
            connection.execute(statements.INSERT)
            connection.execute(statements.ADD, old)
            if any(record.adjusts is not None for record in fresh):
                connection.execute(statements.ADD_MOVED, old)
            connection.cursor().executemany(statements.SERVED, served(fresh))
        return booked, rows

    def _end(
        self, connection: Connection, chain: str, rows: list[list[Value]]
    ) -> Cursor[tuple[Any, ...]] | None:
        """Give the rows their place in the book, under the lock that the commit sets free.

        The answer says how far roll-ups are folded; None: there are no rows.
        """
        if not rows:
            return None
        seq, booked_at_ms, row_hash = (
            rows[-1][place] for place in (statements.SEQ, statements.BOOKED_AT, statements.HASH)
        )
        assert isinstance(seq, int) and isinstance(booked_at_ms, int), "numbers of a row just made"
        assert isinstance(row_hash, bytes), "the hash of a row just made"
        head = {
            "chain": chain,
            "chain_seq": seq,
            "rows": len(rows),
            "hash": row_hash,
            "booked_at_ms": booked_at_ms,
            "key_name": self._key_name,
            "seal": seal(self.key, seq, booked_at_ms, row_hash),
        }
        connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, COMMITTING)})")
        return connection.execute(statements.END, head)

    def _fold(self, until_ms: int) -> None:
        """Fold up to then; if that cannot be done now, a later batch does it. 0: nothing is."""
        if until_ms:
            try:
                folding.fold(self._line, until_ms)
            except (LedgerError, LedgerUnavailable) as error:
                _LOG.warning("roll-ups are folded with a later batch: %s", error)

    def _check_confirmed(self, writer: str, position: int) -> None:
        """Book nothing behind a gap: the database has lost what it had confirmed."""
        if position < self._confirmed.get(writer, 0):
            self._confirmed[writer] = position
            raise LedgerSetBack(position)


def _add_late(
    connection: Connection,
    chain: str,
    rows: list[list[Value]],
    ended: Cursor[tuple[Any, ...]] | None,
) -> int:
    """Add to the wide roll-ups what is folded already.

    Returns up to when quarter hours are to be folded after the commit; 0: none are.
    """
    if ended is None:
        return 0
    [folded_until_ms] = ended.fetchone() or (None,)
    assert isinstance(folded_until_ms, int), "the tables have their one row"
    last_seq, booked_at_ms = rows[-1][statements.SEQ], rows[-1][statements.BOOKED_AT]
    assert isinstance(last_seq, int) and isinstance(booked_at_ms, int), "numbers of a new row"
    starts = [row[statements.STARTED_AT] for row in rows]
    starts_ms = [start for start in starts if isinstance(start, int)]
    if folding.is_late(min(starts_ms), folded_until_ms):
        folding.add_late(connection, chain, last_seq - len(rows))
    until_ms = folding.until(max(starts_ms), booked_at_ms)
    return until_ms if until_ms > folded_until_ms else 0


def _put_refusals(connection: Connection, batch: Batch) -> None:
    sums: dict[tuple[int, bytes], list[Value]] = {}
    for one in map(cleaned, batch.refusals):
        place = (one.bucket_ms, digest(one.key_id, one.code, one.team, one.limit_id))
        row = sums.setdefault(place, [*place, one.key_id, one.code, 0, one.team, one.limit_id])
        assert isinstance(row[4], int), "a count"
        row[4] += one.count
    if sums:
        rows = [row for _, row in sorted(sums.items())]
        connection.cursor().executemany(statements.REFUSAL, rows)


def _copy(connection: Connection, chain: str, rows: list[list[Value]]) -> None:
    """Bring the rows to the temporary table."""
    head_seq = rows[-1][1]
    with connection.cursor().copy(statements.COPY) as copy:
        copy.set_types(statements.STAGE_TYPES)
        for row in rows:
            copy.write_row((chain, row[1], head_seq, row[0], *row[2:]))
