"""Credits in the book: append-only, each under its id.

A credit raises a limit for a while. All is synchronous, on a connection that writes or reads.
"""

from __future__ import annotations

import sqlite3

import msgspec

from proxy.core.limits.credit import Credit
from proxy.ledger import LedgerUnavailable

_COLUMNS = ", ".join(Credit.__struct_fields__)


def add(connection: sqlite3.Connection, credit: Credit) -> None:
    """Book a credit, durably; a known id is left as it is. Raises LedgerUnavailable."""
    places = ", ".join("?" for _ in Credit.__struct_fields__)
    try:
        connection.execute(
            f"INSERT INTO grants ({_COLUMNS}) VALUES ({places})", msgspec.structs.astuple(credit)
        )
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def read(connection: sqlite3.Connection) -> list[Credit]:
    """Every credit, in the order of booking."""
    return [
        Credit(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM grants ORDER BY seq")
    ]
