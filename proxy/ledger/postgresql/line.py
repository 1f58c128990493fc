"""The one connection that a process books with: made anew when it breaks, and each hour.

An hour, since the temporary table of a connection that stays for months would keep the whole
server from forgetting old transactions. A new one also finds the server that a name stands for now.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import select
import threading
import time
import zlib
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.ledger import LedgerUnavailable
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.connection import WRITER, Connection, cut, lock, meant, opened
from proxy.ledger.postgresql.pooling import check_pooling
from proxy.ledger.postgresql.schema import add_months, identity, migrate, schema_version

AGE_MAX_S: Final = 3600.0

_LOG = logging.getLogger("tollkeeper.ledger")
_T = TypeVar("_T")
_STAGE: Final = "CREATE TEMP TABLE stage (LIKE records) ON COMMIT DELETE ROWS"


class CommitUnsure(LedgerUnavailable):
    """The connection broke while a commit was on its way: it may have been carried out."""


class Line:
    """A connection to one ledger, used by one thread at a time; `cut` may come from another."""

    def __init__(self, url: str, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._now_s = now_s
        self._connection: Connection | None = None
        self._opened_s = 0.0
        self._identity: str | None = None
        self._writers: set[str] = set()  # whose journals this process books
        self._guard = threading.Lock()  # over which connection `cut` means
        self.name = name(url)

    def transaction(
        self, work: Callable[[Connection], _T], *, begin: str = "", fail: FaultPoint = no_fault
    ) -> _T:
        """Do all of the work or none of it; it is durable when this returns.

        `begin` is SQL that the transaction starts with, such as a lock. Raises LedgerError and
        LedgerUnavailable, of which CommitUnsure is one.
        """
        connection = self._use()
        committing = False
        try:
            fail("ledger.book.before")
            connection.execute(f"BEGIN; {begin}")
            done = work(connection)
            fail("ledger.book.inside")
            committing = True
            ended = connection.execute("COMMIT").statusmessage
            if ended != "COMMIT":
                raise LedgerUnavailable(f"{self.name}: the transaction ended with {ended}")
            fail("ledger.book.after")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, psycopg.Error):
                if committing and connection.closed:
                    raise CommitUnsure(str(meant(error, self.name))) from error
                raise meant(error, self.name) from error
            if isinstance(error, OSError):
                raise LedgerUnavailable(f"{self.name}: {error}") from error
            raise
        return done

    def ask(self, question: Callable[[Connection], _T]) -> _T:
        """The answer to a question. Raises as `transaction` does."""
        connection = self._use()
        try:
            return question(connection)
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, psycopg.Error):
                raise meant(error, self.name) from error
            raise

    def own(self, writer: str) -> None:
        """Hold this writer's name for as long as the connections last.

        Two processes that book journals under one name would take each other's closes for booked.
        Raises LedgerUnavailable while another process holds it.
        """
        if writer not in self._writers:
            self.ask(lambda connection: self._take(connection, writer))
            self._writers.add(writer)

    def disown(self, writer: str) -> None:
        """Hold this writer's name no longer; a connection that is lost holds it no more either."""
        if writer in self._writers:
            self._writers.discard(writer)
            key = lock(WRITER, number(writer))
            self.ask(lambda one: one.execute(f"SELECT pg_advisory_unlock({key})"))

    def cut(self) -> None:
        """End the connection under whatever waits on it. From any thread."""
        with self._guard:
            cut(self._connection)

    def close(self) -> None:
        """End the connection; it is made again when it is next needed."""
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _use(self) -> Connection:
        if self._connection is not None and (
            self._connection.closed
            or self._now_s() - self._opened_s >= AGE_MAX_S
            or _has_spoken(self._connection)
        ):
            self.close()
        if self._connection is None:
            connection = opened(self.url, writes=True)
            with self._guard:
                self._connection, self._opened_s = connection, self._now_s()
            try:
                self._prepare(connection)
            except BaseException as error:
                self.close()
                if isinstance(error, psycopg.Error):
                    raise meant(error, self.name) from error
                raise
        return self._connection

    def _prepare(self, connection: Connection) -> None:
        check_pooling(self.url, connection, self.name)
        self._check_identity(connection)
        add_months(connection, datetime.datetime.now(datetime.UTC).date())
        connection.execute(_STAGE)
        for writer in self._writers:
            self._take(connection, writer)
        row = connection.execute("SELECT EXISTS (SELECT 1 FROM records_default)").fetchone()
        if row == (True,):
            _LOG.warning(
                "%s: records_default holds records that no month took; their ids have no time of a"
                " month that is there",
                self.name,
            )

    def _check_identity(self, connection: Connection) -> None:
        """Bring the ledger up at the start, and later be sure that it is still the same one.

        What is booked into an empty database that stands in its place would be missing in the book.
        """
        if self._identity is None:
            migrate(connection, self.name)
            self._identity = identity(connection)
        elif schema_version(connection, self.name) == 0 or identity(connection) != self._identity:
            raise LedgerUnavailable(
                f"{self.name} is another ledger than at the start: bring the right one back, or "
                "restart to go on with this one"
            )

    def _take(self, connection: Connection, writer: str) -> None:
        """Wait a moment: the server takes one to end a connection that was just closed."""
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '2s'")
                connection.execute(f"SELECT pg_advisory_lock({lock(WRITER, number(writer))})")
        except psycopg.errors.LockNotAvailable as error:
            raise LedgerUnavailable(
                f"{self.name}: another process books as {writer!r}, or did until its connection"
                " broke. Give each process a name of its own"
            ) from error

    def _roll_back(self, connection: Connection) -> None:
        """End a failed transaction; a connection that is not well afterwards is given up."""
        with contextlib.suppress(psycopg.Error):
            if not connection.closed:
                connection.execute("ROLLBACK")
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            self.close()


def _has_spoken(connection: Connection) -> bool:
    """Whether the server said something unasked: mostly that it ends the connection."""
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return bool(heard.poll(0))


def number(text: str) -> int:
    """The number, of 32 bits with a sign, that stands for a name in an advisory lock."""
    found = zlib.crc32(text.encode())
    return found - 2**32 if found >= 2**31 else found
