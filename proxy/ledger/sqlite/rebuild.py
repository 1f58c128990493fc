"""Makes all roll-ups anew from the records, in one transaction.

The quarter hours are summed from records some thousand at a time, as if they were booked again, so
that no sum is beyond 63 bits before it is bounded. The wider spans are summed from them.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.ledger import BATCH_MAX
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.archive import ADD_ARCHIVED
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
_QUARTERS = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in SUMS)} FROM "
    "rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold)"
)
_FOLDED = "INSERT OR REPLACE INTO fold VALUES (1, ?)"


def rebuild(connection: sqlite3.Connection) -> int:
    """Replace all roll-ups; the number of records they were made of. Raises sqlite3.Error."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        for table in ("rollups", *(table for family in FAMILIES for table in family.tables)):
            execute(f"DELETE FROM {table}")
        (records, first, last) = execute(
            "SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM records"
        ).fetchone()
        execute(ADD_ARCHIVED)
        for after in range(first - 1, last, STEP_SEQS):
            _sum(connection, after, min(after + STEP_SEQS, last))
        execute(_FOLDED, (_folded_until_ms(connection),))
        for statement in added_wide(_QUARTERS):
            execute(statement)
        execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    return int(records)


def _sum(connection: sqlite3.Connection, after: int, upto: int) -> None:
    """Add the records of these seqs to the quarter hours, by batches if sums are too large."""
    connection.execute("SAVEPOINT sums")
    try:
        for statement in (_ROLL_UP, _MOVE):
            connection.execute(statement, (after, upto))
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow" or upto - after <= BATCH_MAX:
            raise
        connection.execute("ROLLBACK TO sums")
        for part in range(after, upto, BATCH_MAX):
            _sum(connection, part, min(part + BATCH_MAX, upto))
    connection.execute("RELEASE sums")


def _folded_until_ms(connection: sqlite3.Connection) -> int:
    """Where the wide spans end, as before; a value that cannot be is brought into its bounds."""
    until_ms: int = connection.execute("SELECT max(folded_until_ms) FROM fold").fetchone()[0] or 0
    last_ms: int
    (last_ms,) = connection.execute("SELECT coalesce(max(bucket_ms), 0) FROM rollups").fetchone()
    return max(0, min(int(until_ms) // BUCKET_MS * BUCKET_MS, last_ms))
