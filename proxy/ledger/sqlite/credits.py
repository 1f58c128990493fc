"""Credits in the book: append-only, each under its id, in a chain of their own.

A credit raises a limit for a while. All is synchronous, on a connection that writes or reads.

Each credit has its link in `credit_links`: see `proxy.ledger.credit_chain`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.records.canonical import Value
from proxy.ledger import LedgerUnavailable, QuestionRefused
from proxy.ledger.credit_chain import LINK_COLUMNS, first_links, link, verified
from proxy.ledger.verification import VerifyStep

CREDIT_CHAIN_SINCE = 12  # the schema version

CREDIT_LINKS = """
CREATE TABLE credit_links (
    seq INTEGER PRIMARY KEY,
    linked_at_ms INTEGER NOT NULL,
    late_through INTEGER,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    key_name TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TRIGGER credit_links_known BEFORE INSERT ON credit_links
    WHEN EXISTS (SELECT 1 FROM credit_links WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
"""

_NAMES = Credit.__struct_fields__
_COLUMNS = ", ".join(_NAMES)
_LAST = "SELECT seq, hash FROM credit_links ORDER BY seq DESC LIMIT 1"
_LINK = (
    f"INSERT INTO credit_links ({', '.join(LINK_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(LINK_COLUMNS))})"
)
_LINKS = (
    f"SELECT {', '.join(f'l.{name}' for name in LINK_COLUMNS)}, "
    f"{', '.join(f'g.{name}' for name in _NAMES)} "
    "FROM credit_links AS l LEFT JOIN grants AS g ON g.seq = l.seq ORDER BY l.seq"
)
_UNLINKED = (
    "SELECT seq, id FROM grants WHERE seq NOT IN (SELECT seq FROM credit_links) ORDER BY seq"
)


def add(connection: sqlite3.Connection, credit: Credit, key: bytes, now_ms: int) -> None:
    """Book a credit, durably; a known id is left as it is. Raises LedgerUnavailable."""
    places = ", ".join("?" for _ in _NAMES)
    values = msgspec.structs.astuple(credit)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            statement = f"INSERT INTO grants ({_COLUMNS}) VALUES ({places})"
            if connection.execute(statement, values).rowcount > 0:
                _link(connection, key, now_ms, values)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def begin_chain(connection: sqlite3.Connection, key: bytes, now_ms: int) -> None:
    """Begin the chain of credits if there is none, with those that are there. Raises sqlite3.Error.

    Credits that come later without a link are a forgery, and are never linked.
    """
    if connection.execute(_LAST).fetchone() is not None:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        known = connection.execute(f"SELECT seq, {_COLUMNS} FROM grants ORDER BY seq").fetchall()
        connection.executemany(
            _LINK, first_links([(row[0], row[1:]) for row in known], now_ms, key)
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read(connection: sqlite3.Connection) -> list[Credit]:
    """Every credit, in the order of booking."""
    return [
        Credit(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM grants ORDER BY seq")
    ]


def newest(
    connection: sqlite3.Connection, limit_id: str | None, after: str | None, most: int
) -> list[Credit]:
    """At most so many credits, the last booked first: of one limit, behind the credit `after`.

    Raises QuestionRefused where there is no such credit: an empty page would look like the end.
    """
    known = "SELECT 1 FROM grants WHERE id = ?"
    if after is not None and connection.execute(known, (after,)).fetchone() is None:
        raise QuestionRefused("after is the id of a credit, as the page before gave it")
    # By name: Python 3.12.0 to 3.12.3 warn of `?1` with a sequence.
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM grants WHERE (:limit IS NULL OR limit_id = :limit) AND (:after IS"
        " NULL OR seq < (SELECT seq FROM grants WHERE id = :after)) ORDER BY seq DESC LIMIT :most",
        {"limit": limit_id, "after": after, "most": most},
    )
    return [Credit(*row) for row in rows]


def credits_step(connection: sqlite3.Connection, key: bytes | None) -> VerifyStep:
    """Verify all credits: a person gives each of them, so that they are few."""
    rows = connection.execute(_LINKS).fetchall()
    return verified(rows, connection.execute(_UNLINKED).fetchall(), key)


def _link(connection: sqlite3.Connection, key: bytes, now_ms: int, values: Sequence[Value]) -> None:
    """Add the link of the credit with these values to the chain, in the open transaction."""
    (seq,) = connection.execute("SELECT seq FROM grants WHERE id = ?", (values[0],)).fetchone()
    before = connection.execute(_LAST).fetchone()
    if before is not None:  # else a later start begins the chain
        connection.execute(_LINK, link(seq, now_ms, before[1], values, key))
