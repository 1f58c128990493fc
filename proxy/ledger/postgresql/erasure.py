"""Deletes the salt of an end user from the database.

The server keeps the row's bytes until it cleans the table up, and its archived log has them longer.
"""

from __future__ import annotations

from typing import Final

from proxy.core.managed import Audit, TenantChange
from proxy.ledger.postgresql import tenants
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.texts import clean

_DELETE: Final = (
    "DELETE FROM end_users WHERE lookup = %s AND salt IS DISTINCT FROM %s::bytea RETURNING 1"
)


def erase(
    connection: Connection,
    key: bytes,
    lookup: str,
    deed: Audit,
    *,
    kept: bytes | None,
    known: bool,
) -> bool:
    """See `proxy.ledger.Ledger.erase_end_user`. The transaction holds the lock of orders."""
    deleted = connection.execute(_DELETE, (clean(lookup), kept)).fetchone() is not None
    if not (deleted or known):
        return False
    tenants.change(connection, key, TenantChange((), (deed,)))
    return True
