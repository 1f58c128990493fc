"""Credits in the book: what raises a limit for a while, append-only, each under its id. Synchronous, on the connection that writes or on one that reads."""

from __future__ import annotations

import sqlite3

from proxy.ledger import Credit, LedgerUnavailable

_COLUMNS = "id, granted_at_ms, limit_id, unit, amount, valid_until_ms, reason, granted_by"


def add(connection: sqlite3.Connection, credit: Credit) -> None:
    """Books a credit, durably; a known id is left as it is. Raises LedgerUnavailable."""
    try:
        connection.execute(f"INSERT INTO grants ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (
            credit.id, credit.granted_at_ms, credit.limit_id, credit.unit, credit.amount, credit.valid_until_ms, credit.reason, credit.granted_by,
        ))  # fmt: skip
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def read(connection: sqlite3.Connection) -> list[Credit]:
    """Every credit, in the order of booking."""
    return [Credit(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM grants ORDER BY seq")]
