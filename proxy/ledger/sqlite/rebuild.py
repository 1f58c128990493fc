"""Makes all roll-ups anew from the records, in one transaction; served models come back with them.

The quarter hours are summed from records some thousand at a time, and the wider spans from them.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.ledger import BATCH_MAX
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.adding import add
from proxy.ledger.sqlite.archive import ADD_ARCHIVED
from proxy.ledger.sqlite.carried import DUE, of_span
from proxy.ledger.sqlite.sums import (
    FAMILIES,
    GROUPS,
    SUMS,
    added_wide,
    moved_into_rollups,
    summed_records,
)

STEP_SEQS: Final = BATCH_MAX * 64

_ROLL_UP = summed_records("seq > ? AND seq <= ?")
_MOVE = moved_into_rollups("{row}.seq > ? AND {row}.seq <= ?")
_BEFORE = "bucket_ms < (SELECT folded_until_ms FROM fold)"
_QUARTERS = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in SUMS)} FROM "
    f"rollups WHERE {_BEFORE}"
)
_ADD_QUARTERS = added_wide(_QUARTERS, of_span("rollups", _BEFORE))
# Those of archived months stay: no record says them any more.
_SERVED = (
    "INSERT INTO served_models SELECT DISTINCT upstream, model_requested, model_served FROM "
    "records WHERE model_requested IS NOT NULL AND model_served IS NOT NULL ON CONFLICT DO NOTHING"
)
_FOLDED = "INSERT OR REPLACE INTO fold VALUES (1, ?)"


def rebuild(connection: sqlite3.Connection) -> int:
    """Replace all roll-ups; the number of records they were made of. Raises sqlite3.Error."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        records = rebuilt(connection)
        execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    return records


def rebuild_if_due(connection: sqlite3.Connection) -> None:
    """Replace roll-ups of an earlier version whose sums may have stood at a bound."""
    query = "SELECT 1 FROM carried_sums WHERE span = ?"
    if connection.execute(query, (DUE,)).fetchone() is not None:
        rebuild(connection)  # the mark goes with it


def rebuilt(connection: sqlite3.Connection) -> int:
    """The same in the transaction that is open."""
    execute = connection.execute
    tables = (table for family in FAMILIES for table in family.tables)
    for table in ("rollups", "carried_sums", *tables):
        execute(f"DELETE FROM {table}")
    (records, first, last) = execute(
        "SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM records"
    ).fetchone()
    add(connection, ADD_ARCHIVED)
    for after in range(first - 1, last, STEP_SEQS):
        for adding in (_ROLL_UP, _MOVE):
            add(connection, adding, (after, min(after + STEP_SEQS, last)))
    execute(_SERVED)
    execute(_FOLDED, (_folded_until_ms(connection),))
    for adding in _ADD_QUARTERS:
        add(connection, adding)
    return int(records)


def _folded_until_ms(connection: sqlite3.Connection) -> int:
    """Where the wide spans end, as before; a value that cannot be is brought into its bounds."""
    until_ms: int = connection.execute("SELECT max(folded_until_ms) FROM fold").fetchone()[0] or 0
    last_ms: int
    (last_ms,) = connection.execute("SELECT coalesce(max(bucket_ms), 0) FROM rollups").fetchone()
    return max(0, min(int(until_ms) // BUCKET_MS * BUCKET_MS, last_ms))
