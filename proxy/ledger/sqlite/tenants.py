"""Keys, teams and the audit in the book. All is synchronous, on a connection that writes or reads.

The audit is a chain of its own, hashed and sealed row by row as the records are.
"""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from proxy.core.managed import Audit, Managed, TenantChange
from proxy.core.records.canonical import GENESIS, Value, chained, key_name, seal
from proxy.ledger import LedgerUnavailable
from proxy.ledger.reading import AuditEntry

_COLUMNS = Audit.__struct_fields__
_AUDIT = (
    f"INSERT INTO audit (seq, {', '.join(_COLUMNS)}, prev_hash, hash, key_name, seal) "
    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 5))})"
)
_TENANT = (
    "INSERT INTO tenants (kind, name, version, doc) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) "
    "DO UPDATE SET version = excluded.version, doc = excluded.doc"
)
_LAST = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
_ROWS = f"SELECT seq, {', '.join(_COLUMNS)}, prev_hash, hash, key_name, seal FROM audit"
_MANAGED = msgspec.json.Decoder(Managed)


def change(connection: sqlite3.Connection, key: bytes, what: TenantChange) -> None:
    """Write rows and audit in one durable transaction. Raises LedgerUnavailable."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            _write(connection, key, what)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def _write(connection: sqlite3.Connection, key: bytes, what: TenantChange) -> None:
    [version] = connection.execute("SELECT coalesce(max(version), 0) + 1 FROM tenants").fetchone()
    connection.executemany(
        _TENANT, [(row.kind, row.name, version, msgspec.json.encode(row)) for row in what.rows]
    )
    seq, prev_hash = connection.execute(_LAST).fetchone() or (0, GENESIS)
    for entry in what.audit:
        seq += 1
        values = msgspec.structs.astuple(entry)
        row_hash = chained(prev_hash, (seq, *values))
        sealed = seal(key, seq, entry.at_ms, row_hash)
        connection.execute(_AUDIT, (seq, *values, prev_hash, row_hash, key_name(key), sealed))
        prev_hash = row_hash


def tenants(connection: sqlite3.Connection) -> list[Managed]:
    """Every key and team in the database, by kind and name."""
    rows = connection.execute("SELECT doc FROM tenants ORDER BY kind, name")
    return [_MANAGED.decode(doc) for (doc,) in rows]


def audit(connection: sqlite3.Connection, after: int, most: int) -> list[AuditEntry]:
    """The entries behind `after`, oldest first."""
    rows = connection.execute(f"{_ROWS} WHERE seq > ? ORDER BY seq LIMIT ?", (after, most))
    return [
        AuditEntry(row[0], Audit(**dict(zip(_COLUMNS, row[1:-4], strict=True)))) for row in rows
    ]


def audit_problems(connection: sqlite3.Connection, key: bytes) -> Iterator[str]:
    """What is wrong with the audit's chain: rows missing, changed or not sealed with this key."""
    expected, prev_hash = 1, GENESIS
    for row in connection.execute(f"{_ROWS} ORDER BY seq"):
        yield from _faults(row, expected, prev_hash, key)
        expected, prev_hash = row[0] + 1, row[-3]


def _faults(
    row: Sequence[Value | bytes], expected: int, prev_hash: bytes, key: bytes
) -> Iterator[str]:
    seq, values = row[0], row[1:-4]
    follows, row_hash, made_with, sealed = row[-4:]
    assert isinstance(seq, int), "seq is the table's integer key"
    where = f"audit entry {seq}"
    if seq != expected:
        yield f"{where}: follows entry {expected - 1}; entries between are missing"
    if follows != prev_hash:
        yield f"{where}: does not follow the entry before it"
    texts = [value for value in values if not isinstance(value, bytes)]
    if len(texts) < len(values) or chained(prev_hash, (seq, *texts)) != row_hash:
        yield f"{where}: changed since it was written"
    elif made_with == key_name(key):
        assert isinstance(values[0], int) and isinstance(row_hash, bytes), "the hash is right"
        made = seal(key, seq, values[0], row_hash)
        if not isinstance(sealed, bytes) or not hmac.compare_digest(made, sealed):
            yield f"{where}: its seal was not made with this key"
