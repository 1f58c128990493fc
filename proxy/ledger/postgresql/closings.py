"""Closed months in PostgreSQL: append-only, each once.

What writes runs in a transaction that holds the lock of orders, so that numbers follow each other.
"""

from __future__ import annotations

from typing import Final

from proxy.core.managed import Audit, TenantChange
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.ledger import LedgerOutdated
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
from proxy.ledger.postgresql import tenants
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.texts import clean
from proxy.ledger.verification import VerifyStep

_INSERT: Final = (
    f"INSERT INTO statements ({', '.join(COLUMNS)}) VALUES ({', '.join('%s' for _ in COLUMNS)}) "
    "ON CONFLICT DO NOTHING"
)
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM statements"
_LISTED: Final = f"SELECT {', '.join(LISTED)} FROM statements ORDER BY seq"
_ONE: Final = f"SELECT {', '.join(COLUMNS)} FROM statements WHERE seq = %s"
_NEXT: Final = f"SELECT {', '.join(COLUMNS)} FROM statements WHERE seq > %s ORDER BY seq LIMIT 1"
_BEFORE: Final = "SELECT seq, digest FROM statements WHERE seq < %s ORDER BY seq DESC LIMIT 1"


def add(connection: Connection, key: bytes, closed: ClosedStatement, audit: Audit) -> bytes | None:
    """Store a closed month and its audit; returns the hash of the audit's row.

    Raises LedgerOutdated where another was closed meanwhile.
    """
    [last] = connection.execute(_LAST).fetchone() or (0,)
    row = [clean(value) if isinstance(value, str) else value for value in row_of(closed)]
    if last + 1 != closed.closing.number or connection.execute(_INSERT, row).rowcount != 1:
        raise LedgerOutdated
    return tenants.change(connection, key, TenantChange((), (audit,)))


def listed(connection: Connection) -> list[Closing]:
    """All closed months, in the order of closing."""
    return [closing_of(row) for row in connection.execute(_LISTED)]


def one(connection: Connection, number: int) -> ClosedStatement | None:
    """The statement of that number; None: there is none."""
    row = connection.execute(_ONE, (number,)).fetchone()
    return None if row is None else closed_of(row)


def statements_step(
    connection: Connection, place: str | None, public_key: bytes | None
) -> VerifyStep:
    """Verify the statement behind the one whose number is `place`; at the end, hold the audit."""
    row = connection.execute(_NEXT, (0 if place is None else int(place),)).fetchone()
    if row is None:
        stored = connection.execute(DIGESTS).fetchall()
        return held_against_the_audit(stored, connection.execute(AUDITED).fetchall())
    before = connection.execute(_BEFORE, (row[0],)).fetchone()
    return verified(row, before, public_key)
