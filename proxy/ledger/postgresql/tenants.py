"""Keys, teams and the audit in the book, as PostgreSQL has them.

Each change takes the next version and stamps its rows with it. A NOTIFY tells the other processes,
which then read what is newer; one that misses it sees the version at its next look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from proxy.core.managed import Managed, TenantChange
from proxy.ledger import LedgerOutdated
from proxy.ledger.audit_chain import COLUMNS, next_rows
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.texts import clean, cleaned

CHANNEL: Final = "tollkeeper_tenants"  # its payload is the version; of a credit nothing

_VERSION: Final = "SELECT coalesce(max(version), 0) + 1 FROM tenants"
_TENANT: Final = (
    "INSERT INTO tenants (kind, name, version, doc) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, doc = excluded.doc"
)
_LAST: Final = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
_AUDIT: Final = (
    f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('%s' for _ in COLUMNS)})"
)
_ALL: Final = "SELECT doc FROM tenants ORDER BY kind, name"
_MANAGED: Final = msgspec.json.Decoder(Managed)


def change(
    connection: Connection,
    key: bytes,
    what: TenantChange,
    known: int | None = None,
    first: Callable[[], None] | None = None,
) -> bytes | None:
    """Write rows and audit; returns the hash of the last audit row, if there is one.

    The transaction holds the lock of orders, so that versions and audit follow each other. Raises
    LedgerOutdated where another version than `known` is the newest; else does `first` what must
    be done before anything is written.
    """
    row = connection.execute(_VERSION).fetchone()
    assert row is not None, "an aggregate is one row"
    version = int(row[0])
    if known is not None and known != version - 1:
        raise LedgerOutdated
    if first is not None:
        first()
    connection.cursor().executemany(
        _TENANT,
        [(one.kind.value, clean(one.name), version, msgspec.json.encode(one)) for one in what.rows],
    )
    last = connection.execute(_LAST).fetchone()
    audit = list(next_rows([cleaned(entry) for entry in what.audit], last, key))
    connection.cursor().executemany(_AUDIT, audit)
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(version)))
    last_hash = audit[-1][-3] if audit else None
    assert last_hash is None or isinstance(last_hash, bytes), "the column of hashes"
    return last_hash


def is_written(connection: Connection, audit_hash: bytes) -> bool:
    """Whether the audit holds a row of this hash."""
    found = connection.execute("SELECT 1 FROM audit WHERE hash = %s", (audit_hash,))
    return found.fetchone() is not None


def tenants(connection: Connection) -> list[Managed]:
    """Every key and team in the database, by kind and name."""
    return [_MANAGED.decode(doc) for (doc,) in connection.execute(_ALL)]
