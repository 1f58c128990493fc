"""Closed months in the book: append-only, each once. All is synchronous, on one connection."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.core.managed import Audit, TenantChange
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.ledger import LedgerOutdated, LedgerUnavailable
from proxy.ledger.closed import (
    AUDITED,
    COLUMNS,
    DIGESTS,
    LISTED,
    closed_of,
    closing_of,
    held_against_the_audit,
    row_of,
    verified,
)
from proxy.ledger.sqlite.tenants import write
from proxy.ledger.verification import VerifyStep

STATEMENTS_SINCE: Final = 14  # the schema version

STATEMENTS = """
CREATE TABLE statements (
    seq INTEGER PRIMARY KEY,
    month TEXT NOT NULL,
    zone TEXT NOT NULL,
    team TEXT,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    through INTEGER NOT NULL,
    closed_at_ms INTEGER NOT NULL,
    closed_by TEXT NOT NULL,
    digest BLOB NOT NULL,
    document BLOB NOT NULL,
    public_key BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX statements_month ON statements (month, ifnull(team, 0));
CREATE TRIGGER statements_known BEFORE INSERT ON statements
    WHEN EXISTS (SELECT 1 FROM statements WHERE seq = NEW.seq \
OR (month = NEW.month AND team IS NEW.team))
    BEGIN SELECT RAISE(IGNORE); END;
"""

_INSERT: Final = (
    f"INSERT INTO statements ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
_LISTED: Final = f"SELECT {', '.join(LISTED)} FROM statements ORDER BY seq"
_ONE: Final = f"SELECT {', '.join(COLUMNS)} FROM statements WHERE seq = ?"
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM statements"
_NEXT: Final = f"SELECT {', '.join(COLUMNS)} FROM statements WHERE seq > ? ORDER BY seq LIMIT 1"
_BEFORE: Final = "SELECT seq, digest FROM statements WHERE seq < ? ORDER BY seq DESC LIMIT 1"


def add(connection: sqlite3.Connection, key: bytes, closed: ClosedStatement, audit: Audit) -> None:
    """Store a closed month and its audit, durably and in one transaction.

    Raises LedgerOutdated where another was closed meanwhile, and LedgerUnavailable.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (last,) = connection.execute(_LAST).fetchone()
            stored = last + 1 == closed.closing.number and (
                connection.execute(_INSERT, row_of(closed)).rowcount == 1
            )
            if not stored:
                raise LedgerOutdated
            write(connection, key, TenantChange((), (audit,)))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def listed(connection: sqlite3.Connection) -> list[Closing]:
    """All closed months, in the order of closing."""
    return [closing_of(row) for row in connection.execute(_LISTED)]


def one(connection: sqlite3.Connection, number: int) -> ClosedStatement | None:
    """The statement of that number; None: there is none."""
    row = connection.execute(_ONE, (number,)).fetchone()
    return None if row is None else closed_of(row)


def statements_step(
    connection: sqlite3.Connection, place: str | None, public_key: bytes | None
) -> VerifyStep:
    """Verify the statement behind the one whose number is `place`; at the end, hold the audit."""
    row = connection.execute(_NEXT, (0 if place is None else int(place),)).fetchone()
    if row is None:
        stored = connection.execute(DIGESTS).fetchall()
        return held_against_the_audit(stored, connection.execute(AUDITED).fetchall())
    before = connection.execute(_BEFORE, (row[0],)).fetchone()
    return verified(row, before, public_key)
