"""Finds out whether a pooler in front of PostgreSQL keeps one server connection for each of ours.

Locks of writers, a temporary table, LISTEN and settings belong to the server's connection. Under
`pool_mode=transaction` each transaction may get another one: locks would be held by nobody, and
settings would reach other programs.
"""

from __future__ import annotations

from proxy.ledger import LedgerError
from proxy.ledger.postgresql.connection import Connection, opened


def check_pooling(url: str, connection: Connection, ledger: str) -> None:
    """Raise LedgerError where a pooler shares server connections between those of ours."""
    own = _server_process(connection)
    if own == connection.info.backend_pid:
        return  # nothing stands in between
    # While another connection is in a transaction, it keeps a server connection to itself. If that
    # is ours, or takes ours away, they are shared.
    with opened(url, writes=False) as other, other.transaction():
        is_shared = _server_process(other) == own or _server_process(connection) != own
    if is_shared:
        raise LedgerError(
            f"{ledger} is reached through a pooler that shares server connections between"
            " transactions: set pool_mode=session for this database, or name the server itself in"
            " ledger.url"
        )


def _server_process(connection: Connection) -> int:
    [pid] = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    return int(pid)
