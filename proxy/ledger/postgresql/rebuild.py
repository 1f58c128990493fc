"""Makes all roll-ups anew from the records and the sums of archived ones, in one transaction.

Served models that are missing come back with them.

Other processes wait at the end of their batches meanwhile, with what they book in their journals.
"""

from __future__ import annotations

from typing import Final

from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.postgresql.archive import ARCHIVED
from proxy.ledger.postgresql.connection import COMMITTING, LEDGER, Connection, lock
from proxy.ledger.postgresql.line import Line
from proxy.ledger.postgresql.sums import (
    FAMILIES,
    GROUPS,
    IN_THE_BOOK,
    NAMES,
    SUMS,
    added_to_quarters,
    added_wide,
)
from proxy.ledger.spans import BUCKET_MS

CHAIN: Final = "rebuilt"  # sums of all writers, whose own chains go on beside it

# First the table: who has added to it is let to its end, and who has not waits before doing so.
_LOCK: Final = (
    "SET LOCAL statement_timeout = 0; LOCK TABLE rollups IN EXCLUSIVE MODE; "
    f"SELECT pg_advisory_xact_lock({lock(LEDGER, COMMITTING)})"
)
_OF_RECORDS: Final = counted(
    Columns(["started_at_ms AS at"], GROUPS, SUMS),
    "true",
    IN_THE_BOOK,
)
_EVERYTHING: Final = f"{_OF_RECORDS} UNION ALL {ARCHIVED}"
_QUARTERS: Final = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(NAMES)} FROM rollups "
    "WHERE bucket_ms < (SELECT folded_until_ms FROM fold)"
)
_SERVED: Final = (
    "INSERT INTO served_models (upstream, model_requested, model_served) SELECT DISTINCT upstream, "
    "model_requested, model_served FROM records WHERE model_requested IS NOT NULL AND model_served "
    "IS NOT NULL ON CONFLICT DO NOTHING"
)
# A value that cannot be is brought into its bounds.
_FOLDED: Final = f"""
UPDATE fold SET folded_until_ms = greatest(0, least(
    folded_until_ms - mod(folded_until_ms, {BUCKET_MS}),
    (SELECT coalesce(max(bucket_ms), 0) FROM rollups)))
"""


def rebuild(line: Line) -> int:
    """Replace all roll-ups; the number of records they were made of.

    Raises LedgerError and LedgerUnavailable; then they are as they were.
    """
    return line.transaction(rebuilt, begin=_LOCK)


def rebuilt(connection: Connection) -> int:
    """The same in the transaction that is open and holds the lock of commits."""
    for table in ("rollups", *(table for family in FAMILIES for table in family.tables)):
        connection.execute(f"DELETE FROM {table}")
    row = connection.execute("SELECT count(*) FROM book").fetchone()
    assert row is not None, "an aggregate is one row"
    connection.execute(added_to_quarters(_EVERYTHING), {"chain": CHAIN})
    connection.execute(_SERVED)
    connection.execute(_FOLDED)
    for statement in added_wide(_QUARTERS):
        connection.execute(statement)
    return int(row[0])
