"""The ledger in one SQLite file: `sqlite:ledger.db`. Opens, locks and closes it.

WAL with `synchronous=FULL`: a booked batch survives a power cut. This process is the only one that
writes or checkpoints (SQLite before 3.51.3 can corrupt a WAL database that two connections write);
others read through `reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed, TenantChange
from proxy.core.notices.notice import Claim
from proxy.core.statements.closing import ClosedStatement
from proxy.core.usage import UsageRecord
from proxy.ledger import (
    BATCH_MAX,
    Batch,
    Booked,
    LedgerError,
    LedgerUnavailable,
    Migrated,
    SealedMonth,
)
from proxy.ledger.archives import Archive, ArchiveOrder, DueMonth
from proxy.ledger.months import MonthRow, due_months
from proxy.ledger.sealing_key import sealing_key
from proxy.ledger.signing import own_signer
from proxy.ledger.sqlite import closings
from proxy.ledger.sqlite.archive import ARCHIVES_SINCE
from proxy.ledger.sqlite.backup import back_up as back_up
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, begin_chain, read
from proxy.ledger.sqlite.dump import dumped as dumped
from proxy.ledger.sqlite.erasure import erase
from proxy.ledger.sqlite.files import (
    WHAT_WAS_LOST,
    database_path,
    lock,
    make_database_file,
    was_lost,
)
from proxy.ledger.sqlite.months import add_month
from proxy.ledger.sqlite.notices import claim, sent, unsent
from proxy.ledger.sqlite.pruning import archivable, prune
from proxy.ledger.sqlite.read_only import reading, reading_months
from proxy.ledger.sqlite.reader import SqliteReader
from proxy.ledger.sqlite.rebuild import rebuild
from proxy.ledger.sqlite.schema import check_library, migrate, schema_version
from proxy.ledger.sqlite.tenants import change, tenants
from proxy.ledger.sqlite.thread import on_its_thread, open_on_a_thread

_T = TypeVar("_T")

_LOG = logging.getLogger("tollkeeper.ledger")

# How long SQLite itself waits for a lock that some foreign tool holds, before the recorder's own
# back-off takes over. Only the ledger's thread waits.
_BUSY_TIMEOUT_S = 2.0
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    # KiB, for index pages of recent ids. It is fixed, so that the process does not grow. With more,
    # booking takes no less time (docs/performance.md).
    "PRAGMA cache_size = -2048",
    "PRAGMA wal_autocheckpoint = 2000",  # pages: one checkpoint per some thousand rows
    "PRAGMA journal_size_limit = 67108864",  # bytes that a WAL keeps after a long reader
)


class SqliteLedger:
    """The writing side, made by `connect`.

    Each method runs on the connection's thread, in the order of the calls.
    """

    batch_max = BATCH_MAX

    def __init__(
        self, path: Path, lock_descriptor: int, connection: aiosqlite.Connection, book: Booker
    ) -> None:
        self._path = path
        self._lock_descriptor = lock_descriptor
        self._connection = connection
        self._book = book
        self._identity = _identity(path)

    async def book(self, batch: Batch) -> Booked:
        """See `Ledger.book`."""
        return await self._changing(lambda _: self._book.book(batch))

    async def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """See `Ledger.adjust`."""
        return await self._changing(lambda _: self._book.adjust(adjustments))

    async def credit(self, credit: Credit) -> None:
        """See `Ledger.credit`."""
        await self._changing(
            lambda connection: add(connection, credit, self._book.key, _wall_clock_ms())
        )

    async def rebuild(self) -> int:
        """See `Ledger.rebuild`."""
        return await self._changing(_rebuilt)

    async def seal_months(self, zone: tzinfo, signing_key: Path) -> list[SealedMonth]:
        """See `Ledger.seal_months`. Reading the records keeps no batch waiting."""
        return await asyncio.to_thread(self._sealed, asyncio.get_running_loop(), zone, signing_key)

    async def close_month(self, closed: ClosedStatement, audit: Audit) -> None:
        """See `Ledger.close_month`."""
        await self._changing(
            lambda connection: closings.add(connection, self._book.key, closed, audit)
        )

    async def archive(self, order: ArchiveOrder, audit: Audit) -> Archive:
        """See `Ledger.archive`."""
        return await self._changing(
            lambda connection: self._book.transaction(
                lambda: prune(connection, self._book.key, order, audit, _wall_clock_ms())
            )
        )

    async def clear_archived(self, told: Callable[[int], None] = lambda _rows: None) -> int:
        """See `Ledger.clear_archived`. `archive` has deleted them already."""
        return 0

    async def credits(self) -> list[Credit]:
        """See `Ledger.credits`."""
        return await on_its_thread(self._connection, read)

    async def change(
        self,
        what: TenantChange,
        known: int | None = None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """See `Ledger.change`."""
        if first is not None:
            await first()
        await self._changing(lambda connection: change(connection, self._book.key, what))

    async def tenants(self) -> list[Managed]:
        """See `Ledger.tenants`."""
        return await on_its_thread(self._connection, tenants)

    async def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """See `Ledger.stored`."""
        return await on_its_thread(self._connection, lambda _: self._book.stored(ids))

    async def position(self, writer: str) -> int:
        """See `Ledger.position`."""
        return await on_its_thread(self._connection, lambda _: self._book.position(writer))

    async def release(self, writer: str) -> None:
        """See `Ledger.release`. One process alone books here."""

    async def salts(self) -> dict[str, bytes]:
        """See `Ledger.salts`."""
        return await on_its_thread(self._connection, lambda _: self._book.salts())

    async def erase_end_user(
        self, lookup: str, deed: Audit, *, kept: bytes | None = None, known: bool = False
    ) -> bool:
        """See `Ledger.erase_end_user`."""
        return await self._changing(
            lambda connection: erase(
                connection, self._book.key, lookup, deed, kept=kept, known=known
            )
        )

    async def claim_notices(self, claims: Sequence[Claim], now_ms: int) -> list[Claim]:
        """See `Ledger.claim_notices`."""
        return await self._changing(lambda connection: claim(connection, claims, now_ms))

    async def notices_sent(self, message_ids: Sequence[str]) -> None:
        """See `Ledger.notices_sent`."""
        await self._changing(lambda connection: sent(connection, message_ids))

    async def unsent_notices(self, most: int) -> list[Claim]:
        """See `Ledger.unsent_notices`."""
        return await on_its_thread(self._connection, lambda connection: unsent(connection, most))

    async def aclose(self) -> None:
        """Close the database, after what is already queued, and give up the lock."""
        try:
            await self._connection.close()
        finally:
            os.close(self._lock_descriptor)

    def _sealed(
        self, loop: asyncio.AbstractEventLoop, zone: tzinfo, signing_key: Path
    ) -> list[SealedMonth]:
        signer = own_signer(signing_key, SqliteReader(self._path).has_signatures)
        done = []
        for row in due_months(partial(reading_months, self._path), zone, _wall_clock_ms(), signer):
            added = self._changing(partial(_add_month, row))
            asyncio.run_coroutine_threadsafe(added, loop).result()
            done.append(row.told)
        return done

    async def _changing(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run work that writes, if the database file is still the same."""

        def checked(connection: sqlite3.Connection) -> _T:
            # Rows written to a file that was removed or replaced would be lost.
            if _identity(self._path) != self._identity:
                raise LedgerUnavailable(
                    f"{self._path} was removed or replaced while in use: put it back and restart"
                )
            return work(connection)

        return await on_its_thread(self._connection, checked)


async def connect(
    url: str, data_dir: Path, key_file: Path | None = None, *, fail: FaultPoint = no_fault
) -> SqliteLedger:
    """Open `sqlite:FILE` (relative to `data_dir`) for writing: lock, schema, key.

    Raises LedgerError with the reason and the remedy.
    """
    check_library()
    path = database_path(url, data_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LedgerError(f"cannot make the directory {path.parent}: {error.strerror}") from error
    lock_descriptor = lock(path)
    try:
        if was_lost(path, data_dir):
            _LOG.error("the ledger %s is gone, and a new one is begun: %s", path, WHAT_WAS_LOST)
        make_database_file(path)
        connection = await open_on_a_thread(path, busy_timeout_s=_BUSY_TIMEOUT_S)
        try:
            book = await on_its_thread(
                connection,
                lambda opened: _opened(opened, path, key_file or data_dir / "ledger.key", fail),
            )
            return SqliteLedger(path, lock_descriptor, connection, book)
        except BaseException:
            await connection.close()
            raise
    except BaseException as error:
        os.close(lock_descriptor)
        if isinstance(error, sqlite3.Error | OSError):
            raise LedgerError(f"cannot open the ledger {path}: {error}") from error
        raise


def bring_up(url: str, data_dir: Path, role: str | None) -> Migrated:
    """Migrate the file, which no process has open; see `proxy.ledger.bring_up`."""
    if role is not None:
        raise LedgerError(f"{url} has no roles: leave --allow out")
    check_library()
    path = database_path(url, data_dir)
    if not path.exists():
        raise LedgerError(f"there is no ledger {path} yet: the first start makes it")
    lock_descriptor = lock(path)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            before = schema_version(connection, str(path))
            migrate(connection, str(path))
            return Migrated(str(path), before, schema_version(connection, str(path)))
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot migrate {path}: {error}") from error
    finally:
        os.close(lock_descriptor)


def due_months_of(
    url: str, data_dir: Path, before: str, now_ms: int, forced: Sequence[str]
) -> list[DueMonth]:
    """See `proxy.accounting.archiving.job.due_months`."""
    with reading(database_path(url, data_dir)) as connection:
        if schema_version(connection, url) < ARCHIVES_SINCE:
            raise LedgerError("the next start of `tollkeeper serve` brings the ledger up to date")
        return archivable(connection, before, now_ms, forced)


def weakness(url: str, data_dir: Path) -> str | None:
    """None: who may write a file may change it, and its seals tell."""
    return None


def connect_reader(url: str, data_dir: Path) -> SqliteReader:
    """A reader of `sqlite:FILE` (relative to `data_dir`), which need not be there yet.

    Raises LedgerError for a URL that names no file.
    """
    check_library()
    return SqliteReader(database_path(url, data_dir))


def _opened(connection: sqlite3.Connection, path: Path, key_file: Path, fail: FaultPoint) -> Booker:
    """Prepare a fresh connection for booking. Runs on the connection's thread."""
    schema_version(connection, str(path))  # before the first change to a file that may not be ours
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            f"{path} cannot use SQLite's WAL mode: put data_dir on a local file system"
        )
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    migrate(connection, str(path))
    key = sealing_key(
        key_file, lambda: connection.execute("SELECT 1 FROM heads LIMIT 1").fetchone() is not None
    )
    begin_chain(connection, key, _wall_clock_ms())
    return Booker(connection, key, _wall_clock_ms, fail)


def _add_month(row: MonthRow, connection: sqlite3.Connection) -> None:
    try:
        add_month(connection, row)
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def _rebuilt(connection: sqlite3.Connection) -> int:
    try:
        return rebuild(connection)
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
