"""A ledger in SQLite as a whole, to be copied into another database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from proxy.ledger import LedgerError
from proxy.ledger.copying import COMPARED_BY, DUMPED
from proxy.ledger.reading import UsageRow
from proxy.ledger.sqlite.files import database_path, lock
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.reader import SqliteReader
from proxy.ledger.sqlite.schema import SCHEMA_VERSION, schema_version

# Each seal covers the rows behind the one before it, or behind what was pruned.
_PRUNED = "(SELECT coalesce(max(seq), 0) FROM checkpoints)"
_FROM = {
    "heads": f"(SELECT *, seq - lag(seq, 1, {_PRUNED}) OVER (ORDER BY seq) AS rows FROM heads "
    f"WHERE seq > {_PRUNED})",
}


@contextmanager
def dumped(url: str, data_dir: Path) -> Iterator[SqliteDump]:
    """The ledger of `sqlite:FILE`, locked as a writing process locks it.

    Raises LedgerError while a process uses it, and for a ledger of an earlier version.
    """
    path = database_path(url, data_dir)
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}")
    descriptor = lock(path)
    try:
        with reading(path) as connection:
            version = schema_version(connection, str(path))
            if version < SCHEMA_VERSION:
                raise LedgerError(
                    f"{path} has schema version {version}, and this program copies version "
                    f"{SCHEMA_VERSION}: start `tollkeeper serve` on it once, which brings it there"
                )
            yield SqliteDump(path, connection)
    finally:
        os.close(descriptor)


class SqliteDump:
    """See `proxy.ledger.copying.Dump`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @property
    def name(self) -> str:
        """See `Dump.name`."""
        return str(self._path)

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """See `Dump.rows`."""
        columns = DUMPED[table]
        order = "seq" if "seq" in columns and table != "journal_positions" else columns[0]
        return iter(
            self._connection.execute(
                f"SELECT {', '.join(columns)} FROM {_FROM.get(table, table)} ORDER BY {order}"
            )
        )

    def count(self, table: str) -> int:
        """See `Dump.count`."""
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM {_FROM.get(table, table)}"
        ).fetchone()
        return int(count)

    def id_span(self) -> tuple[str, ...]:
        """See `Dump.id_span`."""
        ends = self._connection.execute("SELECT min(id), max(id) FROM records").fetchone()
        return tuple(id for id in ends if id is not None)

    def folded_until_ms(self) -> int:
        """See `Dump.folded_until_ms`."""
        (until_ms,) = self._connection.execute("SELECT folded_until_ms FROM fold").fetchone()
        return int(until_ms)

    def usage(self) -> list[UsageRow]:
        """See `Dump.usage`."""
        return SqliteReader(self._path).usage(COMPARED_BY, None, None, UTC)
