"""The kinds of ledgers that the contract tests run over, each empty at first.

A kind makes as many ledgers as tests want. To add a database, write its class and put it into
`KINDS`.
"""

from __future__ import annotations

import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Booked, Ledger, Reader, connect, connect_reader
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.schema import SCHEMA_VERSION as POSTGRES_SCHEMA_VERSION
from proxy.ledger.postgresql.tables import APPEND_ONLY
from proxy.ledger.postgresql.verify import verify_book
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.schema import SCHEMA_VERSION
from proxy.ledger.sqlite.verify import verify_chain
from proxy.ledger.verifying import Verified
from tests.ledger import sqlite_rollups
from tests.ledger.postgresql.books import Books
from tests.ledger.samples import KEY, START_MS, numbered, open_book, rows
from tests.support.postgres import postgres

BOOKED_MS = START_MS + 5000


class BookUnderTest(ABC):
    """One ledger. `directory` is its data_dir, and `key_file` there holds KEY."""

    url: str
    name: str  # what messages and `status` call it
    schema_version: int
    # Of tables that have more than what is booked: what was, to compare.
    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / "ledger.key"
        self.booked = 0

    def book(self, *records: UsageRecord, now_ms: int = BOOKED_MS, batch_max: int = 64) -> Booked:
        """Book closes of the writer w0 at that time, behind those before; the last batch's result."""
        found = Booked(0, 0, 0)
        for start in range(0, len(records), batch_max):
            part = numbered(*records[start : start + batch_max], after=self.booked)
            found = self.batch(Batch("w0", part), now_ms=now_ms)
            self.booked += len(part)
        return found

    @abstractmethod
    def batch(self, batch: Batch, *, now_ms: int = BOOKED_MS) -> Booked:
        """Book one batch at that time."""

    @abstractmethod
    def adjust(self, adjustments: Sequence[UsageRecord], *, now_ms: int = BOOKED_MS) -> Booked:
        """Book adjustments at that time."""

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The answer to SQL that every database understands."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of all tables."""

    @abstractmethod
    def agree(self) -> None:
        """Assert that the roll-ups of each width say what the records say."""

    @abstractmethod
    def verified(self, key: bytes | None = KEY) -> Verified:
        """What is wrong with its chain and with the seals of this key."""

    @abstractmethod
    def cleared(self) -> contextlib.AbstractContextManager[BookUnderTest]:
        """An empty ledger of the same kind, for one example of many."""

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables."""
        return {
            table: sorted(
                self.rows(f"SELECT {self.columns.get(table, '*')} FROM {table}"), key=repr
            )
            for table in self.tables()
        }

    def reader(self) -> Reader:
        """A reader of it."""
        return connect_reader(self.url, self.directory)

    async def open(self, key_file: Path | None = None, *, fail: FaultPoint = no_fault) -> Ledger:
        """It, opened as the process does."""
        return await connect(self.url, self.directory, key_file, fail=fail)


class SqliteBook(BookUnderTest):
    """A file, written on this thread without syncing: nothing pulls the plug here."""

    url = "sqlite:ledger.db"
    schema_version = SCHEMA_VERSION

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.name = str(directory / "ledger.db")
        self.key_file.write_text(KEY.hex())
        self._now_ms = BOOKED_MS
        self.connection, _ = open_book(directory / "ledger.db")
        self._booker = Booker(self.connection, KEY, lambda: self._now_ms)

    def batch(self, batch: Batch, *, now_ms: int = BOOKED_MS) -> Booked:
        self._now_ms = now_ms
        return self._booker.book(batch)

    def adjust(self, adjustments: Sequence[UsageRecord], *, now_ms: int = BOOKED_MS) -> Booked:
        self._now_ms = now_ms
        return self._booker.adjust(adjustments)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.connection, query)

    def tables(self) -> list[str]:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return [name for (name,) in self.rows(query)]

    def agree(self) -> None:
        sqlite_rollups.agree(self.connection)
        sqlite_rollups.as_of_version_3(self.connection)
        sqlite_rollups.agree(self.connection)

    def verified(self, key: bytes | None = KEY) -> Verified:
        return verify_chain(Path(self.name), key)

    @contextlib.contextmanager
    def cleared(self) -> Iterator[BookUnderTest]:
        with tempfile.TemporaryDirectory() as directory, opened_sqlite(Path(directory)) as other:
            yield other


@contextlib.contextmanager
def opened_sqlite(directory: Path) -> Iterator[BookUnderTest]:
    """A ledger in a file of this directory."""
    book = SqliteBook(directory)
    with contextlib.closing(book.connection):
        yield book


class PostgresBook(BookUnderTest):
    """A database of the tests' own server."""

    schema_version = POSTGRES_SCHEMA_VERSION
    # Each attempt at a batch has a name there, to be found when a commit's answer is lost.
    columns = MappingProxyType({"journal_positions": "writer, seq"})

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self.url = url
        self.name = name(url)
        self.key_file.write_text(KEY.hex())
        self.books = Books(url)

    def batch(self, batch: Batch, *, now_ms: int = BOOKED_MS) -> Booked:
        self.books.now_ms = now_ms
        return self.books.batch(batch)

    def adjust(self, adjustments: Sequence[UsageRecord], *, now_ms: int = BOOKED_MS) -> Booked:
        self.books.now_ms = now_ms
        return self.books.adjust(*adjustments)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.books.rows(query)

    def tables(self) -> list[str]:
        query = (
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'ledger_schema'"
        )
        return [table for (table,) in self.rows(query)]

    def agree(self) -> None:
        self.books.agree()

    def verified(self, key: bytes | None = KEY) -> Verified:
        with opened(self.url, writes=False) as connection, connection.transaction():
            return verify_book(connection, key)

    @contextlib.contextmanager
    def cleared(self) -> Iterator[BookUnderTest]:
        self.clear()
        self.booked = 0
        yield self

    def clear(self) -> None:
        """Take all rows out, which only the owner can, and only without the triggers."""
        kept = [*APPEND_ONLY, "tenants"]
        statements = [
            *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in kept),
            *(f"DELETE FROM {table}" for table in self.tables() if table not in ("cursor", "fold")),
            "UPDATE cursor SET seq = 0",
            "UPDATE fold SET folded_until_ms = 0",
            *(
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"
                for table in APPEND_ONLY
                for trigger in ("append_only", "never_emptied")
            ),
            "ALTER TABLE tenants ENABLE TRIGGER USER",
        ]
        self.books.do("; ".join(statements))
        self.books.booker._confirmed.clear()  # else it would see that the ledger has lost them


# Databases that no test uses now: to clear one takes a tenth of the time of making one.
_FREE: list[str] = []


@contextlib.contextmanager
def opened_postgres(directory: Path) -> Iterator[BookUnderTest]:
    """A ledger in a database of its own. Skips where there is no PostgreSQL."""
    book = PostgresBook(directory, _FREE.pop() if _FREE else postgres().database())
    book.clear()
    try:
        yield book
    finally:
        book.books.close()
        _FREE.append(book.url)


KINDS = {"postgresql": opened_postgres, "sqlite": opened_sqlite}
