"""Keeps the roll-ups of hours, days and months, inside the booking transaction.

What they hold ends at `folded_until_ms`. Every four hours the quarter hours that have passed are added to them, thousands of rows in one go: to add each batch
at once would double what booking costs. What is booked late, or adjusts what is long past, is added at once. So at each commit they say exactly what the
records before that moment say, and a reader takes what is newer from the quarter hours.
"""

from __future__ import annotations

import sqlite3

from proxy.ledger.schema import BUCKET_MS, FOLD_MS, GROUPS, SUMS, WIDE, folded, folded_on, named

GRACE_MS = 15 * 60 * 1000   # most of what started before a fold is booked by then: what comes later costs more

_UNTIL = "SELECT folded_until_ms FROM fold"
_LATE = (
    f"SELECT started_at_ms AS at, {', '.join(GROUPS)}, {', '.join(f'{expression} AS {name}' for name, expression in SUMS)} FROM records "
    f"WHERE seq > ? AND started_at_ms - started_at_ms % {BUCKET_MS} < ({_UNTIL})"
)
_PASSED = f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in SUMS)} FROM rollups WHERE bucket_ms >= ? AND bucket_ms < ?"
_ANY_LATE = f"SELECT EXISTS ({_LATE})"
_ADD_LATE = (named(_LATE), *(folded(table, span, _LATE) for table, span in WIDE))
_ADD_PASSED = (named(_PASSED), folded(*WIDE[0], _PASSED), *(folded_on(table, span, "s.at >= ? AND s.at < ?") for table, span in WIDE[1:]))


def fold(connection: sqlite3.Connection, old_head: int, now_ms: int) -> None:
    """Adds the records behind `old_head` that are late, then the time that has passed. The quarter hours are up to date."""
    execute = connection.execute
    if execute(_ANY_LATE, (old_head,)).fetchone() == (1,):
        for statement in _ADD_LATE:
            execute(statement, (old_head,))
    (since_ms,) = execute(_UNTIL).fetchone()
    until_ms = (now_ms - GRACE_MS) // FOLD_MS * FOLD_MS
    if until_ms > since_ms:
        for statement in _ADD_PASSED:
            execute(statement, (since_ms, until_ms))
        execute("UPDATE fold SET folded_until_ms = ?", (until_ms,))
