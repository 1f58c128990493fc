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


def newest(
    connection: sqlite3.Connection, limit_id: str | None, after: str | None, most: int
) -> list[Credit]:
    """At most so many credits, the last booked first: of one limit, behind the credit `after`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM grants WHERE (?1 IS NULL OR limit_id = ?1) AND "
        "(?2 IS NULL OR seq < (SELECT seq FROM grants WHERE id = ?2)) ORDER BY seq DESC LIMIT ?3",
        (limit_id, after, most),
    )
    return [Credit(*row) for row in rows]
