"""Read-only connections to the ledger's file.

Each question opens the file, reads in one short transaction and closes it: a reader that stays
would keep the write-ahead log from being reset.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.sqlite.files import WHAT_WAS_LOST, was_lost
from proxy.ledger.sqlite.months import SqliteMonths
from proxy.ledger.sqlite.schema import schema_version
from proxy.ledger.sqlite.spans import WIDE_SINCE_VERSION
from proxy.ledger.sqlite.sums import WIDE

_BUSY_TIMEOUT_S = 5.0
# The version since which a table has long cache writes and searches, and since which it is there.
_SINCE = {
    "records": (7, 1),
    "rollups": (8, 1),
    **{table: (8, WIDE_SINCE_VERSION) for table, _ in WIDE},
}
# Makes a ledger that no process of this version has opened yet look like one of this version: the
# columns that it lacks are null.
_EARLIER = (
    "CREATE TEMP VIEW {table} AS "
    "SELECT *, NULL AS cache_write_long_tokens, NULL AS searches FROM main.{table}"
)


_DAMAGED = (
    ". It is damaged, or no ledger: docs/keeping.md says how to bring a backup back. Keep the"
    " damaged file and the journal until then"
)
_REMEDIES = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CANTOPEN: ": this user may not read the file, or enter its directory",
}


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection in one transaction, closed at the end. Raises as `connected`."""
    with connected(path) as connection:
        connection.execute("BEGIN")
        yield connection


@contextmanager
def reading_months(path: Path) -> Iterator[SqliteMonths]:
    """The sealed months of a file, in one transaction. Raises as `connected`."""
    with reading(path) as connection:
        yield SqliteMonths(connection)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection, closed at the end; each statement on it is a transaction of its own.

    One thread at a time may use it. Raises LedgerError without a ledger to read, and
    LedgerUnavailable when SQLite cannot read it.
    """
    if was_lost(path, path.parent):
        gone = "empty" if path.exists() else "gone"
        raise LedgerError(f"the ledger {path} is {gone}: {WHAT_WAS_LOST}")
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path} yet: `tollkeeper serve` makes it")
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=_BUSY_TIMEOUT_S,
            check_same_thread=False,
        )
        try:
            version = schema_version(connection, str(path))
            if version == 0:
                raise LedgerError(f"{path} is empty: `tollkeeper serve` makes the ledger")
            for table, (complete, begun) in _SINCE.items():
                if begun <= version < complete:
                    connection.execute(_EARLIER.format(table=table))
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # The second: SQLite quotes a damaged schema in its message, and that is no text any more.
        raise LedgerUnavailable(f"cannot read {path}: {error}{_remedy(error)}") from error


def _remedy(error: sqlite3.Error | UnicodeDecodeError) -> str:
    """What to do where no later try will read the file."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return _REMEDIES.get(code, "")
