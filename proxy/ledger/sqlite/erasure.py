"""Deletes the salt of an end user from the file, so that no page and no log has it any more."""

from __future__ import annotations

import sqlite3

from proxy.core.managed import Audit, TenantChange
from proxy.ledger import LedgerUnavailable
from proxy.ledger.sqlite.tenants import write


def erase(
    connection: sqlite3.Connection,
    key: bytes,
    lookup: str,
    deed: Audit,
    *,
    kept: bytes | None,
    known: bool,
) -> bool:
    """See `proxy.ledger.Ledger.erase_end_user`."""
    execute = connection.execute
    try:
        # SQLite may leave the bytes in the page until others take their place.
        (usual,) = execute("PRAGMA secure_delete").fetchone()
        execute("PRAGMA secure_delete = ON")
        execute("BEGIN IMMEDIATE")
        try:
            deleted = execute(
                "DELETE FROM end_users WHERE lookup = :lookup AND salt IS NOT :kept",
                {"lookup": lookup, "kept": kept},
            ).rowcount
            found = deleted > 0 or known
            if found:
                write(connection, key, TenantChange((), (deed,)))
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise
        finally:
            execute(f"PRAGMA secure_delete = {usual}")
        # The log has pages of before. While somebody reads it, it stays until a later checkpoint.
        execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error
    return found
