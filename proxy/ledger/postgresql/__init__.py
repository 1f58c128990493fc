"""The ledger in a PostgreSQL database: `postgresql://USER:PASSWORD@HOST/DATABASE`.

Several processes book into it at once, each in a chain of its own. Each books on one connection, on
a thread of its own: so batches are made ready beside the event loop, and an answer that never comes
can be given up by ending the connection under it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed, TenantChange
from proxy.core.notices.notice import Claim
from proxy.core.records.canonical import key_name
from proxy.core.statements.closing import ClosedStatement
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Booked, Ledger, LedgerError, LedgerUnavailable, SealedMonth
from proxy.ledger.archives import Archive, ArchiveOrder, DueMonth
from proxy.ledger.months import MonthRow, due_months
from proxy.ledger.postgresql import closings, credits, notices, tenants
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.booking import BATCH_MAX, PostgresBooker
from proxy.ledger.postgresql.connection import ADMINISTERING, LEDGER, Connection, lock
from proxy.ledger.postgresql.erasure import erase
from proxy.ledger.postgresql.line import CommitUnsure, Line
from proxy.ledger.postgresql.months import add_month
from proxy.ledger.postgresql.pruning import archivable, cleared, prune
from proxy.ledger.postgresql.read_only import Connections
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.postgresql.rebuild import rebuild
from proxy.ledger.postgresql.schema import bring_up as bring_up
from proxy.ledger.postgresql.schema import weakness as weakness
from proxy.ledger.postgresql.sharing import connect_sharing as connect_sharing
from proxy.ledger.postgresql.take_over import take_over as take_over
from proxy.ledger.postgresql.worker import Worker
from proxy.ledger.sealing_key import read_key, sealing_key
from proxy.ledger.signing import own_signer

_T = TypeVar("_T")
_LOG = logging.getLogger("tollkeeper.ledger")
# A process has begun the chain of credits before anything else is sealed.
_LAST_KEY: Final = """
SELECT coalesce((SELECT key_name FROM heads ORDER BY seq DESC LIMIT 1),
  (SELECT key_name FROM credit_links ORDER BY seq DESC LIMIT 1))"""
_ANOTHER_KEY: Final = (
    "%s was sealed last with another key than %s: end users get other pseudonyms, and `ledger"
    " verify` here cannot check those seals. Copy the file from the process that sealed, unless it"
    " is lost"
)
_ORDERS: Final = f"SELECT pg_advisory_xact_lock({lock(LEDGER, ADMINISTERING)})"
FIRST_MAX_S: Final = 50.0  # the server ends a transaction that says nothing for a minute


class PostgresLedger:
    """The writing side, made by `connect`. One call works at a time, in the order they came."""

    batch_max: Final = BATCH_MAX

    def __init__(
        self, line: Line, book: PostgresBooker, worker: Worker, begin: Callable[[], object] | None
    ) -> None:
        self._line = line
        self._book = book
        self._worker = worker
        self._begin = begin  # what is still to be done before all else; None: it is done

    async def book(self, batch: Batch) -> Booked:
        """See `Ledger.book`."""
        return await self._done(lambda: self._book.book(batch))

    async def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """See `Ledger.adjust`."""
        return await self._done(lambda: self._book.adjust(adjustments))

    async def credit(self, credit: Credit) -> None:
        """See `Ledger.credit`."""
        key = self._book.key
        await self._ordered(lambda one: credits.add(one, credit, key, _wall_clock_ms()))

    async def rebuild(self) -> int:
        """See `Ledger.rebuild`."""
        return await self._done(lambda: rebuild(self._line), patient=True)

    async def seal_months(self, zone: tzinfo, signing_key: Path) -> list[SealedMonth]:
        """See `Ledger.seal_months`. Reading the records keeps no batch waiting."""
        return await asyncio.to_thread(self._sealed, asyncio.get_running_loop(), zone, signing_key)

    async def archive(self, order: ArchiveOrder, audit: Audit) -> Archive:
        """See `Ledger.archive`. The records are deleted by `clear_archived`."""
        key, found = self._book.key, []

        def pruned(connection: Connection) -> bytes | None:
            archived, audited = prune(connection, key, order, audit, _wall_clock_ms())
            found.append(archived)
            return audited

        await self._worker.done(
            lambda: self._begun(lambda: self._audited(pruned, self._book.fail)), patient=True
        )
        return found[-1]

    async def clear_archived(self, told: Callable[[int], None] = lambda _rows: None) -> int:
        """See `Ledger.clear_archived`. Between two transactions others have their turn."""
        batches, count = cleared(self._line, self._book.fail), 0
        while (rows := await self._worker.done(lambda: next(batches, None))) is not None:
            told(rows)
            count += rows
        return count

    async def credits(self) -> list[Credit]:
        """See `Ledger.credits`."""
        return await self._asked(credits.every)

    async def change(
        self,
        what: TenantChange,
        known: int | None = None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """See `Ledger.change`."""
        key = self._book.key
        before = None if first is None else _from_a_thread(first)
        await self._done(
            lambda: self._audited(lambda one: tenants.change(one, key, what, known, before))
        )

    async def close_month(self, closed: ClosedStatement, audit: Audit) -> None:
        """See `Ledger.close_month`."""
        key = self._book.key
        await self._done(lambda: self._audited(lambda one: closings.add(one, key, closed, audit)))

    async def tenants(self) -> list[Managed]:
        """See `Ledger.tenants`."""
        return await self._asked(tenants.tenants)

    async def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """See `Ledger.stored`."""
        return await self._done(lambda: self._book.stored(ids))

    async def position(self, writer: str) -> int:
        """See `Ledger.position`."""
        return await self._done(lambda: self._book.position(writer))

    async def release(self, writer: str) -> None:
        """See `Ledger.release`."""
        await self._done(lambda: self._line.disown(writer))

    async def salts(self) -> dict[str, bytes]:
        """See `Ledger.salts`."""
        return await self._done(self._book.salts)

    async def erase_end_user(
        self, lookup: str, deed: Audit, *, kept: bytes | None = None, known: bool = False
    ) -> bool:
        """See `Ledger.erase_end_user`."""
        return await self._ordered(
            lambda one: erase(one, self._book.key, lookup, deed, kept=kept, known=known)
        )

    async def claim_notices(self, claims: Sequence[Claim], now_ms: int) -> list[Claim]:
        """See `Ledger.claim_notices`."""
        return await self._ordered(lambda connection: notices.claim(connection, claims, now_ms))

    async def notices_sent(self, message_ids: Sequence[str]) -> None:
        """See `Ledger.notices_sent`."""
        await self._ordered(lambda connection: notices.sent(connection, message_ids))

    async def unsent_notices(self, most: int) -> list[Claim]:
        """See `Ledger.unsent_notices`."""
        return await self._asked(lambda connection: notices.unsent(connection, most))

    async def aclose(self) -> None:
        """End the connection, after what is already under way."""
        await self._worker.close(self._line.close)

    def _sealed(
        self, loop: asyncio.AbstractEventLoop, zone: tzinfo, signing_key: Path
    ) -> list[SealedMonth]:
        reader, done = PostgresReader(self._line.url), []
        signer = own_signer(signing_key, reader.has_signatures)
        for row in due_months(reader.months, zone, _wall_clock_ms(), signer):
            added = self._ordered(partial(_add_month, row))
            if not asyncio.run_coroutine_threadsafe(added, loop).result():
                break  # another process seals; what it leaves is for the next time
            done.append(row.told)
        return done

    def _audited(
        self, order: Callable[[Connection], bytes | None], fail: FaultPoint = no_fault
    ) -> None:
        """On the worker's thread. A commit whose answer was lost is looked for in the audit.

        `order` returns the hash of the last row of the audit that it wrote.
        """
        hashes: list[bytes | None] = []
        try:
            self._line.transaction(
                lambda connection: hashes.append(order(connection)), begin=_ORDERS, fail=fail
            )
        except CommitUnsure as error:
            last_hash = hashes[-1]
            if last_hash is None:
                raise
            try:
                written = self._line.ask(lambda one: tenants.is_written(one, last_hash))
            except (LedgerError, LedgerUnavailable) as still:
                raise LedgerUnavailable(
                    f"{still}. Whether the change was written is not known: look before you order "
                    "it again"
                ) from error
            if not written:
                raise

    async def _ordered(self, work: Callable[[Connection], _T]) -> _T:
        """Work in a transaction that no other order runs beside."""
        return await self._done(lambda: self._line.transaction(work, begin=_ORDERS))

    async def _asked(self, question: Callable[[Connection], _T]) -> _T:
        return await self._done(lambda: self._line.ask(question))

    async def _done(self, work: Callable[[], _T], *, patient: bool = False) -> _T:
        """The work's result. While a process runs, everything may mend: LedgerUnavailable.

        `patient`: it may take as long as it does
        """
        try:
            return await self._worker.done(lambda: self._begun(work), patient=patient)
        except LedgerError as error:
            raise LedgerUnavailable(str(error)) from error

    def _begun(self, work: Callable[[], _T]) -> _T:
        """On the worker's thread: the work, behind the beginning that a start may have missed."""
        if self._begin is not None:
            self._begin()
            self._begin = None
        return work()


async def connect(
    url: str,
    data_dir: Path,
    key_file: Path | None = None,
    *,
    fail: FaultPoint = no_fault,
    later: bool = False,
) -> Ledger:
    """Open the ledger for writing: schema, months, key. `data_dir` is where the key is by default.

    `later`: not before it is first used, with a key that is there. Raises LedgerError with the
    reason and the remedy, LedgerUnavailable where waiting may help.
    """
    line = Line(url)
    worker = Worker(line.cut)
    path = key_file or data_dir / "ledger.key"

    def begin(given: bytes | None = None) -> bytes:
        """The key, under the lock: of two processes that begin a ledger one makes it."""

        def whole(connection: Connection) -> bytes:
            row = connection.execute(_LAST_KEY).fetchone()
            last = None if row is None else row[0]
            key = _key_of(path, last) if given is None else given
            if last not in (None, key_name(key)):
                _LOG.error(_ANOTHER_KEY, line.name, path)
            credits.begin_chain(connection, key, _wall_clock_ms())
            return key

        return line.transaction(whole, begin=_ORDERS)

    try:
        key = read_key(path) if later else await worker.done(begin)
    except BaseException:
        await worker.close(line.close)
        raise
    book = PostgresBooker(line, key, _wall_clock_ms, fail)
    return PostgresLedger(line, book, worker, (lambda: begin(key)) if later else None)


def due_months_of(
    url: str, data_dir: Path, before: str, now_ms: int, forced: Sequence[str]
) -> list[DueMonth]:
    """See `proxy.accounting.archiving.job.due_months`."""
    return archivable(Connections(url, name(url)), before, now_ms, forced)


def connect_reader(url: str, data_dir: Path) -> PostgresReader:
    """A reader of the database, in which a ledger need not be there yet.

    Raises LedgerError for a URL that cannot be read.
    """
    return PostgresReader(url)


def _key_of(path: Path, last: str | None) -> bytes:
    """The key in the file, made for a ledger in which nothing is sealed."""
    try:
        return sealing_key(path, lambda: last is not None)
    except OSError as error:
        raise LedgerError(f"cannot make the ledger's key {path}: {error.strerror}") from error


def _add_month(row: MonthRow, connection: Connection) -> bool:
    return add_month(connection, row)


def _from_a_thread(work: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """What has the running event loop do the work, and waits for it. Raises TimeoutError."""
    loop = asyncio.get_running_loop()

    async def done() -> None:
        await work()

    def wait() -> None:
        doing = asyncio.run_coroutine_threadsafe(done(), loop)
        try:
            doing.result(FIRST_MAX_S)
        finally:
            doing.cancel()

    return wait


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
