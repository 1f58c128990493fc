"""Credits in the book: append-only, each under its id, in a chain of their own.

A credit raises a limit for a while. All is synchronous, on a connection that writes or reads.

Each credit has its link in `credit_links`, hashed and sealed as a record is. The chain begins with
link 0. It says up to which seq credits were there before it, and were chained late.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.records.canonical import GENESIS, Value, canonical, chained, key_name, seal
from proxy.core.records.chain import FINDINGS_MAX, ChainPlace, ChainWalk, Flaw, Head, Link
from proxy.ledger import LedgerUnavailable
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
_NO_CREDIT: tuple[Value, ...] = (None,) * len(_NAMES)
_LAST = "SELECT seq, hash FROM credit_links ORDER BY seq DESC LIMIT 1"
_LINK = (
    "INSERT INTO credit_links (seq, linked_at_ms, late_through, prev_hash, hash, key_name, seal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_LINKS = (
    "SELECT l.seq, linked_at_ms, late_through, prev_hash, hash, key_name, seal, "
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
        _insert(connection, key, (0, now_ms, known[-1][0] if known else 0), GENESIS, _NO_CREDIT)
        for row in known:
            _link(connection, key, now_ms, row[1:])
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
    """At most so many credits, the last booked first: of one limit, behind the credit `after`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM grants WHERE (?1 IS NULL OR limit_id = ?1) AND "
        "(?2 IS NULL OR seq < (SELECT seq FROM grants WHERE id = ?2)) ORDER BY seq DESC LIMIT ?3",
        (limit_id, after, most),
    )
    return [Credit(*row) for row in rows]


def credits_step(connection: sqlite3.Connection, key: bytes | None) -> VerifyStep:
    """Verify all credits: a person gives each of them, so that they are few."""
    links: list[Link] = []
    heads: list[Head] = []
    notes = []
    for row in connection.execute(_LINKS):
        seq, at_ms, late, prev_hash, row_hash, made_with, sealed = row[:7]
        links.append((seq, row[7] or "none", _text(row[:3], row[7:]), prev_hash, row_hash))
        heads.append((seq, row_hash, at_ms, made_with, sealed))
        if seq == 0 and late:
            notes.append(_told(late, at_ms))
    through = max((link[0] for link in links), default=-1)
    walk = ChainWalk(
        ChainPlace(through, -1, GENESIS, -1), key, part="credits", row="link of credit"
    )
    walk.page(links, heads, lambda seq: next(link[2] for link in links if link[0] == seq))
    walk.end()
    found = walk.findings + [
        Flaw("credits", f"credit seq {seq} id {id!r}: it was put in beside the chain", seq, id)
        for seq, id in connection.execute(_UNLINKED)
    ]
    return VerifyStep(
        rows=len(links),
        seals=walk.seals,
        foreign=walk.foreign,
        found=len(found),
        findings=found[:FINDINGS_MAX],
        notes=notes,
    )


def _link(connection: sqlite3.Connection, key: bytes, now_ms: int, values: Sequence[Value]) -> None:
    """Add the link of the credit with these values to the chain, in the open transaction."""
    (seq,) = connection.execute("SELECT seq FROM grants WHERE id = ?", (values[0],)).fetchone()
    before = connection.execute(_LAST).fetchone()
    if before is not None:  # else a later start begins the chain
        _insert(connection, key, (seq, now_ms, None), before[1], values)


def _insert(
    connection: sqlite3.Connection,
    key: bytes,
    own: tuple[int, int, int | None],
    prev_hash: bytes,
    values: Sequence[Value],
) -> None:
    row_hash = chained(prev_hash, (*own, *values))
    sealed = seal(key, own[0], own[1], row_hash)
    connection.execute(_LINK, (*own, prev_hash, row_hash, key_name(key), sealed))


def _text(own: Sequence[Value], values: Sequence[Value]) -> bytes:
    """The canonical bytes of a link. Bytes in a column are a forgery, and fit no hash."""
    row = (*own, *values)
    return b"" if any(isinstance(value, bytes) for value in row) else canonical(row)


def _told(late_through: int, at_ms: int) -> str:
    day = datetime.fromtimestamp(at_ms // 1000, UTC).date().isoformat()
    return (
        f"credits up to seq {late_through} were chained on {day} and not when they were given: "
        "what was changed in them before that day cannot be told"
    )
