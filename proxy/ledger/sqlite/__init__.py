"""The ledger in one SQLite file: `sqlite:ledger.db`. Opens, locks and closes it, and runs each
whole transaction in one hop to aiosqlite's thread.

WAL with `synchronous=FULL`: a booked batch survives a power cut. This process is the only one that
writes or checkpoints (SQLite before 3.51.3 can corrupt a WAL
database that two connections write); others read through `reader`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar, cast

import aiosqlite

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.limits.credit import Credit
from proxy.core.usage import UsageRecord
from proxy.ledger import Booked, LedgerError, LedgerUnavailable, Refusal
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, read
from proxy.ledger.sqlite.files import database_path, lock, make_database_file, make_key, read_key
from proxy.ledger.sqlite.reader import SqliteReader
from proxy.ledger.sqlite.schema import check_library, migrate, schema_version

_T = TypeVar("_T")

# How long SQLite itself waits for a lock that some foreign tool holds, before the recorder's own
# back-off takes over. Only the ledger's thread waits.
_BUSY_TIMEOUT_S = 2.0
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    # KiB: index pages of recent ids; fixed, so that the process does not grow with the book
    "PRAGMA cache_size = -8192",
    "PRAGMA wal_autocheckpoint = 2000",       # pages: one checkpoint per some thousand rows
    "PRAGMA journal_size_limit = 67108864",   # bytes kept of a WAL that a long reader made grow
)  # fmt: skip


class SqliteLedger:
    """The writing side; made by `connect`. Every method is one hop to the connection's thread, in
    order of the calls."""

    def __init__(
        self, path: Path, lock_descriptor: int, connection: aiosqlite.Connection, book: Booker
    ) -> None:
        self._path = path
        self._lock_descriptor = lock_descriptor
        self._connection = connection
        self._book = book
        self._identity = _identity(path)

    async def book(
        self,
        writer: str,
        closes: Sequence[tuple[int, UsageRecord]],
        *,
        position: int | None = None,
        salts: Sequence[tuple[str, bytes]] = (),
        refusals: Sequence[Refusal] = (),
        price_versions: Sequence[tuple[str, bytes]] = (),
    ) -> Booked:
        """See `Ledger.book`."""
        return await self._booking(
            lambda: self._book.book(writer, closes, position, salts, refusals, price_versions)
        )

    async def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """See `Ledger.adjust`."""
        return await self._booking(lambda: self._book.adjust(adjustments))

    async def credit(self, credit: Credit) -> None:
        """See `Ledger.credit`."""
        await _on_its_thread(
            self._connection, lambda: self._checked(lambda: add(_raw(self._connection), credit))
        )

    async def credits(self) -> list[Credit]:
        """See `Ledger.credits`."""
        return await _on_its_thread(self._connection, lambda: read(_raw(self._connection)))

    async def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """See `Ledger.stored`."""
        return await _on_its_thread(self._connection, lambda: self._book.stored(ids))

    async def position(self, writer: str) -> int:
        """See `Ledger.position`."""
        return await _on_its_thread(self._connection, lambda: self._book.position(writer))

    async def salts(self) -> dict[str, bytes]:
        """See `Ledger.salts`."""
        return await _on_its_thread(self._connection, self._book.salts)

    async def aclose(self) -> None:
        """Close the database, after what is already queued, and give up the lock."""
        try:
            await self._connection.close()
        finally:
            os.close(self._lock_descriptor)

    async def _booking(self, work: Callable[[], Booked]) -> Booked:
        return await _on_its_thread(self._connection, lambda: self._checked(work))

    def _checked(self, work: Callable[[], _T]) -> _T:
        # A file removed or replaced under an open connection takes rows that nobody will ever read.
        if _identity(self._path) != self._identity:
            raise LedgerUnavailable(
                f"{self._path} was removed or replaced while in use: put it back and restart"
            )
        return work()


async def connect(
    url: str, data_dir: Path, key_file: Path | None = None, *, fail: FaultPoint = no_fault
) -> SqliteLedger:
    """Open `sqlite:FILE` (relative to `data_dir`) for writing: lock, schema, key. Raises
    LedgerError with the reason and the remedy."""
    check_library()
    path = database_path(url, data_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LedgerError(f"cannot make the directory {path.parent}: {error.strerror}") from error
    lock_descriptor = lock(path)
    try:
        make_database_file(path)
        connection = aiosqlite.connect(
            path, isolation_level=None, timeout=_BUSY_TIMEOUT_S, cached_statements=32
        )
        await connection
        try:
            book = await _on_its_thread(
                connection,
                lambda: _opened(_raw(connection), path, key_file or data_dir / "ledger.key", fail),
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


def connect_reader(url: str, data_dir: Path) -> SqliteReader:
    """A reader of `sqlite:FILE` (relative to `data_dir`), which need not be there yet.

    Raises LedgerError for a URL that names no file.
    """
    check_library()
    return SqliteReader(database_path(url, data_dir))


def _opened(connection: sqlite3.Connection, path: Path, key_file: Path, fail: FaultPoint) -> Booker:
    """Bring a fresh connection to where it can book. Runs on the connection's thread."""
    schema_version(connection, str(path))  # before the first change to a file that may not be ours
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            f"{path} cannot use SQLite's WAL mode: put data_dir on a local file system"
        )
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    migrate(connection, str(path))
    return Booker(connection, _sealing_key(connection, key_file), _wall_clock_ms, fail)


def _sealing_key(connection: sqlite3.Connection, key_file: Path) -> bytes:
    if key_file.exists():
        return read_key(key_file)
    if connection.execute("SELECT 1 FROM heads LIMIT 1").fetchone() is not None:
        raise LedgerError(
            f"the key that seals this ledger is missing: restore {key_file} from a backup. If it is lost for good, put 64 random hex digits there: "
            "what is booked from then on is sealed with the new key, and the older seals cannot be checked any more"
        )
    return make_key(key_file)


async def _on_its_thread(connection: aiosqlite.Connection, function: Callable[[], _T]) -> _T:
    """Run a whole function on the connection's thread, in one hop. aiosqlite's own methods hop once
    a statement, which is 15 times slower for a batch.

    This and `_raw` are the only uses of aiosqlite's private names; a test names what broke if an
    upgrade takes them away.
    """
    execute = cast("Callable[[Callable[[], _T]], Coroutine[None, None, _T]]", connection._execute)
    return await execute(function)


def _raw(connection: aiosqlite.Connection) -> sqlite3.Connection:
    return connection._conn


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
