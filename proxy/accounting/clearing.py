"""How far a process has booked what it began, so that a month can be closed over all of them."""

from __future__ import annotations

from proxy.journal import Journal


def clear_ms(journal: Journal, now_ms: int, begun_ms: int | None = None) -> int:
    """The time before which all that began in this process is booked, in Unix milliseconds.

    begun_ms · when the oldest request began that is not in the journal yet; None: there is none
    """
    oldest = (journal.oldest_open_ms(), journal.unbooked.oldest_started_ms(), begun_ms)
    return min([now_ms, *(begun_ms for begun_ms in oldest if begun_ms is not None)])
