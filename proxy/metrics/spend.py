"""What each team used today and this month, as gauges that outlive a restart.

They are read from the ledger, and are the numbers of `tollkeeper usage`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import tzinfo
from time import monotonic

from proxy.core.calendar import Per, window
from proxy.ledger import LedgerError, LedgerUnavailable, Reader
from proxy.ledger.asking import RepeatedQuestion
from proxy.ledger.reading import UsageRow
from proxy.metrics.families import Families

PERIODS = (Per.DAY, Per.MONTH)
ANSWER_MAX_S = 5.0  # a scraper waits for ten; with a ledger that hangs it gets the other metrics
KEEP_S = 15.0  # a scrape interval: reading is cheap, but scrapes may be many

_LOG = logging.getLogger("tollkeeper.periods")


class Spend:
    """Reads the sums in `refresh`, before a page, and shows them in `collect`.

    At most `series_max` teams and currencies of each period are shown.
    """

    def __init__(
        self,
        reader: Reader,
        zone: Callable[[], tzinfo],
        now_ms: Callable[[], int],
        series_max: int,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._reader = reader
        self._zone = zone
        self._now_ms = now_ms
        self._now_s = now_s
        self._series_max = series_max
        self._question = RepeatedQuestion(self._read)
        self._rows: dict[Per, list[UsageRow]] = {}
        # When to read again: monotonic seconds, and a midnight in Unix milliseconds.
        self._until: tuple[float, int] | None = None

    async def refresh(self) -> None:
        """Read the ledger in a thread, unless the last sums are recent and of the same day."""
        now_ms = self._now_ms()
        if self._until is not None and self._now_s() < self._until[0] and now_ms < self._until[1]:
            return
        try:
            self._rows, end_ms = await self._question.answer(ANSWER_MAX_S)
        except (LedgerError, LedgerUnavailable) as error:
            _LOG.warning(
                "what was used in this day and month cannot be read for the metrics: %s", error
            )
            self._rows, end_ms = {}, now_ms  # no samples rather than old ones
        self._until = self._now_s() + KEEP_S, end_ms

    def collect(self, families: Families) -> None:
        """Add the samples; runs in the scrape's thread."""
        for period, rows in self._rows.items():
            tokens: dict[str, int] = {}
            unpriced: dict[str, int] = {}
            for row in rows[: self._series_max]:
                team, charge_nano, currency = row["team"], row["charge_nano"], row["currency"]
                name = team if isinstance(team, str) else ""
                if isinstance(charge_nano, int) and isinstance(currency, str):
                    families.nano("period_charge", (name, period, currency), charge_nano)
                # Rows of one team differ in their currency. An unknown count adds nothing.
                tokens[name] = tokens.get(name, 0) + sum(
                    count
                    for count in (row["input_tokens"], row["output_tokens"])
                    if isinstance(count, int)
                )
                unpriced[name] = unpriced.get(name, 0) + (
                    count if isinstance(count := row["unpriced_requests"], int) else 0
                )
            for name, total in tokens.items():
                families.add("period_tokens", (name, period), total)
                families.add("period_unpriced_requests", (name, period), unpriced[name])

    def _read(self) -> tuple[dict[Per, list[UsageRow]], int]:
        zone, now_ms = self._zone(), self._now_ms()
        windows = {period: window(period, now_ms, zone) for period in PERIODS}
        rows = {
            period: self._reader.usage(("team",), span.start_ms, span.end_ms, zone)
            for period, span in windows.items()
        }
        return rows, min(span.end_ms for span in windows.values() if span.end_ms is not None)
