"""Keeps the roll-ups of hours, days and months, inside the booking transaction.

They reach up to `folded_until_ms`, a few minutes ago. A quarter hour that is over is added to them
in one go: adding each batch at once would double what booking costs under load. Records that are
booked late, and adjustments of what is long past, are added at once.

So at each commit they agree exactly with the records before `folded_until_ms`. A reader takes what
is newer from the quarter hours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.adding import add
from proxy.ledger.sqlite.carried import of_span
from proxy.ledger.sqlite.sums import GROUPS, SUMS, added_wide

# By then most of what started in a quarter hour is booked. What comes later costs more.
GRACE_MS = 5 * 60 * 1000

_UNTIL = "SELECT folded_until_ms FROM fold"
_IS_LATE = (
    f"{{row}}.seq > :old_head AND {{row}}.started_at_ms - {{row}}.started_at_ms % {BUCKET_MS} < "
    f"({_UNTIL})"
)
_LATE = counted(
    Columns(["started_at_ms AS at"], GROUPS, SUMS),
    _IS_LATE,
)
_PASSED = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in SUMS)} FROM "
    "rollups WHERE bucket_ms >= ? AND bucket_ms < ?"
)
_ADD_LATE = added_wide(_LATE)
_ADD_PASSED = added_wide(_PASSED, of_span("rollups", "bucket_ms >= ? AND bucket_ms < ?"))


def fold(
    connection: sqlite3.Connection, old_head: int, starts_ms: Sequence[int], now_ms: int
) -> None:
    """Add the late records behind `old_head`, then the quarter hours that are over.

    `starts_ms` says when each record behind `old_head` started. The roll-ups of the quarter hours
    themselves are up to date already.
    """
    execute = connection.execute
    (since_ms,) = execute(_UNTIL).fetchone()
    if min(starts_ms) // BUCKET_MS * BUCKET_MS < since_ms:
        for late in _ADD_LATE:
            add(connection, late, {"old_head": old_head})
    # Not beyond the newest record: after an outage hours of records are booked in their order, and
    # they must not all be late.
    until_ms = (min(now_ms, max(starts_ms)) - GRACE_MS) // BUCKET_MS * BUCKET_MS
    if until_ms > since_ms:
        for passed in _ADD_PASSED:
            add(connection, passed, (since_ms, until_ms))
        execute("UPDATE fold SET folded_until_ms = ?", (until_ms,))
