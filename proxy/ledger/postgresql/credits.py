"""Credits in PostgreSQL: append-only, each under its id, in a chain of their own.

See `proxy.ledger.credit_chain` for the chain. Every function here runs in a transaction that holds
the lock of orders, so that numbers and links follow each other.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.core.limits.credit import Credit
from proxy.ledger.credit_chain import CREDIT_COLUMNS, LINK_COLUMNS, first_links, link
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.tenants import CHANNEL
from proxy.ledger.postgresql.texts import cleaned

_COLUMNS: Final = ", ".join(CREDIT_COLUMNS)
_ADD: Final = (
    f"INSERT INTO grants (seq, {_COLUMNS}) SELECT (SELECT coalesce(max(seq), 0) + 1 FROM grants), "
    f"{', '.join('%s' for _ in CREDIT_COLUMNS)} ON CONFLICT (id) DO NOTHING RETURNING seq"
)
_ALL: Final = f"SELECT seq, {_COLUMNS} FROM grants ORDER BY seq"
_LAST: Final = "SELECT hash FROM credit_links ORDER BY seq DESC LIMIT 1"
_LINK: Final = (
    f"INSERT INTO credit_links ({', '.join(LINK_COLUMNS)}) "
    f"VALUES ({', '.join('%s' for _ in LINK_COLUMNS)})"
)


def add(connection: Connection, given: Credit, key: bytes, now_ms: int) -> None:
    """Book a credit; a known id is left as it is."""
    values = msgspec.structs.astuple(cleaned(given))
    added = connection.execute(_ADD, values).fetchone()
    if added is None:
        return
    last = connection.execute(_LAST).fetchone()
    assert last is not None, "the chain is begun when a ledger is opened"
    connection.execute(_LINK, link(added[0], now_ms, last[0], values, key))
    connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))


def begin_chain(connection: Connection, key: bytes, now_ms: int) -> None:
    """Begin the chain of credits if there is none, with those that are there.

    Credits that come later without a link are a forgery, and are never linked.
    """
    if connection.execute(_LAST).fetchone() is None:
        known = [(row[0], msgspec.structs.astuple(credit(row[1:]))) for row in _every(connection)]
        connection.cursor().executemany(_LINK, first_links(known, now_ms, key))


def every(connection: Connection) -> list[Credit]:
    """Every credit, in the order of booking."""
    return [credit(row[1:]) for row in _every(connection)]


def after(connection: Connection, seq: int) -> list[Credit]:
    """The credits behind that one, in the order of booking."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM grants WHERE seq > %s ORDER BY seq", (seq,))
    return [credit(row) for row in rows]


def credit(row: tuple[Any, ...]) -> Credit:
    """The credit in a row of the columns of `Credit`."""
    found = Credit(*row)
    return msgspec.structs.replace(found, amount=int(found.amount))


def _every(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_ALL).fetchall()
