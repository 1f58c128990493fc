"""The closes that the ledger does not have yet, in memory while they are few.

So the recorder need not read back what this process has just written. The journal stays the truth:
a close is here beside its entry, as its payload says it. What is too much is dropped, oldest first,
and read from the files.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from proxy.core.usage import UsageRecord

# Half a second of what one process can end, in some four megabytes: more wait only behind an outage
# of the ledger.
RECORDS_MAX: Final = 2048
BYTES_MAX: Final = 4 * 1024 * 1024  # of payloads


class Unbooked:
    """Lives on the event loop. Every close behind `complete_after` is here."""

    def __init__(self, seq: int) -> None:
        self.complete_after = seq
        # as (seq, record), and the bytes of the payload
        self._closes: deque[tuple[tuple[int, UsageRecord], int]] = deque()
        self._bytes = 0
        self._booked = 0  # the ledger has all up to here

    def add(self, seq: int, record: UsageRecord, payload_bytes: int) -> None:
        """A close that the journal writes as `seq`, later than all before."""
        self._closes.append(((seq, record), payload_bytes))
        self._bytes += payload_bytes
        while len(self._closes) > RECORDS_MAX or self._bytes > BYTES_MAX:
            self.complete_after = self._drop_first()

    def skip(self, seq: int) -> None:
        """A close was written as `seq` that is not handed in: the files have all up to there."""
        self._closes.clear()
        self._bytes = 0
        self.complete_after = seq

    def behind(self, seq: int, limit: int, upto_seq: int) -> list[tuple[int, UsageRecord]] | None:
        """The next closes behind `seq`, at most `limit`, none behind `upto_seq`.

        They stay until they are booked. None: not all of them are here, read the files.
        """
        if seq < self.complete_after:
            return None
        self.booked(seq)
        return [close for close, _ in islice(self._closes, limit) if close[0] <= upto_seq]

    def oldest_started_ms(self) -> int | None:
        """When the oldest began that the ledger does not have; None: it has all.

        0 where some of them are in the files alone.
        """
        if self._booked < self.complete_after:
            return 0
        return min((record.started_at_ms for (_, record), _ in self._closes), default=None)

    def booked(self, seq: int) -> None:
        """The ledger has all closes up to `seq`."""
        self._booked = max(self._booked, seq)
        while self._closes and self._closes[0][0][0] <= seq:
            self._drop_first()

    def _drop_first(self) -> int:
        (seq, _), payload_bytes = self._closes.popleft()
        self._bytes -= payload_bytes
        return seq
