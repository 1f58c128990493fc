"""Keeps the roll-ups of hours, days and months in PostgreSQL.

They reach up to `folded_until_ms`. A quarter hour that is over is added to them in one go, by the
first process that sees it. Records that are booked later than that are added at once.

Whether a record is late is looked at under the lock that orders commits, and folding holds it from
its first look to its commit. So no record is missed between the two, and at each commit the wide
roll-ups agree exactly with the records before `folded_until_ms`.
"""

from __future__ import annotations

from typing import Final

from proxy.ledger.postgresql.connection import COMMITTING, LEDGER, Connection, lock
from proxy.ledger.postgresql.line import Line
from proxy.ledger.postgresql.statements import FRESH, MOVED
from proxy.ledger.postgresql.sums import GROUPS, NAMES, added_wide, bucket
from proxy.ledger.spans import BUCKET_MS

# By then most of what started in a quarter hour is booked. What comes later costs more.
GRACE_MS: Final = 5 * 60 * 1000

_UNTIL: Final = "SELECT folded_until_ms FROM fold"
_LATE: Final = f"SELECT * FROM ({{source}}) AS t WHERE {bucket('at')} < ({_UNTIL})"
_PASSED: Final = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(NAMES)} FROM rollups "
    "WHERE bucket_ms >= %(since)s AND bucket_ms < %(until)s"
)
_LATE_ROWS: Final = f"{_LATE.format(source=FRESH)} UNION ALL {_LATE.format(source=MOVED)}"
_ADD_LATE: Final = added_wide(_LATE_ROWS)
_ADD_PASSED: Final = added_wide(_PASSED)
_LOCK: Final = f"SELECT pg_advisory_xact_lock({lock(LEDGER, COMMITTING)})"


def is_late(started_at_ms: int, folded_until_ms: int) -> bool:
    """Whether the quarter hour of this start is folded already."""
    return started_at_ms // BUCKET_MS * BUCKET_MS < folded_until_ms


def add_late(connection: Connection, chain: str, old_chain_seq: int) -> None:
    """Add the late ones of this transaction's rows, which are the chain's behind that seq.

    The transaction holds the lock that orders commits.
    """
    with connection.pipeline():
        for statement in _ADD_LATE:
            connection.execute(statement, {"chain": chain, "old": old_chain_seq})


def until(newest_ms: int, now_ms: int) -> int:
    """The time up to which everything may be folded, with a batch whose newest record is this."""
    # Not beyond the newest record: after an outage hours of records are booked in their order, and
    # they must not all be late.
    return (min(now_ms, newest_ms) - GRACE_MS) // BUCKET_MS * BUCKET_MS


def fold(line: Line, until_ms: int) -> None:
    """Add the quarter hours up to then, unless that is done. Raises LedgerUnavailable."""

    def whole(connection: Connection) -> None:
        since_ms = _folded_until(connection)
        if until_ms > since_ms:
            for statement in _ADD_PASSED:
                connection.execute(statement, {"since": since_ms, "until": until_ms})
            connection.execute("UPDATE fold SET folded_until_ms = %s", (until_ms,))

    line.transaction(whole, begin=_LOCK)


def _folded_until(connection: Connection) -> int:
    row = connection.execute(_UNTIL).fetchone()
    assert row is not None, "the table has its one row"
    return int(row[0])
