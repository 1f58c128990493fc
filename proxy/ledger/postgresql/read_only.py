"""Connections that only read: a few stay open between questions, for any number of threads.

Each question is one transaction that sees one state of the book. A connection that the server has
dropped meanwhile is noticed at the beginning of a question, and another takes its place.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from proxy.ledger import LedgerError
from proxy.ledger.postgresql.connection import (
    OPENING_MAX_S,
    Connection,
    answering,
    meant,
    opened,
)
from proxy.ledger.postgresql.schema import schema_version

IDLE_MAX: Final = 3  # a process asks few questions at once, and each holds a place at the server

# For a question as a whole. A statement of it may take a minute (`connection`).
ANSWER_MAX_S: Final = 75.0

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Connections:
    """Connections to one database. `name` is the ledger's in messages."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.name = name
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        # At the end of the process too, and before the client library would complain.
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in one transaction. Raises LedgerError and LedgerUnavailable."""
        connection = self._begun()
        try:
            with answering(connection, ANSWER_MAX_S):
                yield connection
                connection.execute("COMMIT")
        except psycopg.Error as error:
            connection.close()
            raise meant(error, self.name) from error
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def _begun(self) -> Connection:
        while (known := self._taken()) is not None:
            try:
                with answering(known, OPENING_MAX_S):
                    known.execute(_BEGIN)
                return known
            except psycopg.Error:
                known.close()
        fresh = opened(self._url, writes=False)
        try:
            with answering(fresh, OPENING_MAX_S):
                fresh.execute(_BEGIN)
            if schema_version(fresh, self.name) == 0:
                raise LedgerError(
                    f"there is no ledger at {self.name} yet: `tollkeeper serve` makes it"
                )
        except BaseException as error:
            fresh.close()
            if isinstance(error, psycopg.Error):
                raise meant(error, self.name) from error
            raise
        return fresh

    def _taken(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


class OneState:
    """One connection in one transaction, in the place of `Connections`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The connection, in the transaction that has begun."""
        yield self._connection


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
