"""Keys, teams and the audit in the book. All is synchronous, on a connection that writes or reads.

The audit is a chain of its own, hashed and sealed row by row as the records are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from proxy.core.managed import Audit, Managed, TenantChange
from proxy.ledger import LedgerUnavailable
from proxy.ledger.audit_chain import COLUMNS, DEED_COLUMNS, next_rows, problems
from proxy.ledger.reading import AuditEntry

# Keys and teams that are kept here, each as one JSON text, and who changed what of them. A name
# stays for good, so that it never stands for somebody else.
TENANTS = """
CREATE TABLE tenants (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tenants_version ON tenants (version);
CREATE TRIGGER tenants_no_delete BEFORE DELETE ON tenants
    BEGIN SELECT RAISE(ABORT, 'names are never used again: revoke the key or team'); END;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    origin TEXT NOT NULL,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    key_name TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_known BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
"""

_AUDIT = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_TENANT = (
    "INSERT INTO tenants (kind, name, version, doc) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) "
    "DO UPDATE SET version = excluded.version, doc = excluded.doc"
)
_LAST = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
_ROWS = f"SELECT {', '.join(COLUMNS)} FROM audit"
_MANAGED = msgspec.json.Decoder(Managed)


def change(connection: sqlite3.Connection, key: bytes, what: TenantChange) -> None:
    """Write rows and audit in one durable transaction. Raises LedgerUnavailable."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            write(connection, key, what)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def write(connection: sqlite3.Connection, key: bytes, what: TenantChange) -> None:
    """The same in the transaction that is open."""
    [version] = connection.execute("SELECT coalesce(max(version), 0) + 1 FROM tenants").fetchone()
    connection.executemany(
        _TENANT, [(row.kind, row.name, version, msgspec.json.encode(row)) for row in what.rows]
    )
    last = connection.execute(_LAST).fetchone()
    connection.executemany(_AUDIT, next_rows(what.audit, last, key))


def tenants(connection: sqlite3.Connection) -> list[Managed]:
    """Every key and team in the database, by kind and name."""
    rows = connection.execute("SELECT doc FROM tenants ORDER BY kind, name")
    return [_MANAGED.decode(doc) for (doc,) in rows]


def audit(connection: sqlite3.Connection, after: int, most: int) -> list[AuditEntry]:
    """The entries behind `after`, oldest first."""
    rows = connection.execute(f"{_ROWS} WHERE seq > ? ORDER BY seq LIMIT ?", (after, most))
    return [
        AuditEntry(row[0], Audit(**dict(zip(DEED_COLUMNS, row[1:-4], strict=True)))) for row in rows
    ]


def audit_head(connection: sqlite3.Connection) -> int:
    """The last seq of the audit, 0 when it is empty."""
    (last,) = connection.execute("SELECT ifnull(max(seq), 0) FROM audit").fetchone()
    return int(last)


def audit_problems(connection: sqlite3.Connection, key: bytes | None) -> Iterator[str]:
    """What is wrong with the audit's chain: rows missing, changed or not sealed with this key.

    Without a key no seal is checked.
    """
    return problems(connection.execute(f"{_ROWS} ORDER BY seq"), key)
