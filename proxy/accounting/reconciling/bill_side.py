"""The bill's side: what has an id goes to the spill, and all of it into sums."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.reconciling.spill import Spill
from proxy.core import dates
from proxy.core.calendar import Calendar
from proxy.core.reconciling.items import REQUESTS
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import ALL, TOKEN_ITEMS, Level, VendorLine
from proxy.core.reconciling.moments import HOUR_MS, Width, period
from proxy.core.reconciling.rates import StatedRates
from proxy.core.reconciling.result import BillConverted, BillTally
from proxy.core.reconciling.sums import BilledSums

_QUARTER_MS: Final = HOUR_MS // 4  # zones differ from each other by whole quarters
_OF_MODELS: Final = frozenset((ALL, REQUESTS, *TOKEN_ITEMS))
PAIRS_MAX: Final = 300_000  # sums of a model and hour, a hundred megabytes of each side


class BillSide:
    """The lines of the bill: all that has an id in the spill, and sums of each period and model."""

    def __init__(
        self,
        spill: Spill,
        currency: str | None,
        zone: ZoneInfo,
        rates: StatedRates | None = None,
    ) -> None:
        self._spill = spill
        self._currency = currency
        self._rates = rates
        # Of each currency with a rate: its lines, in that currency and in the other one.
        self.converted: dict[str, BillConverted] = {}
        self._zone = zone
        self._days = Calendar(zone)
        self.sums: dict[tuple[int, Width, str], BilledSums] = {}
        self.other: dict[str, BillTally] = {}
        self._midnights, self._requests_stated = True, False
        self._fees: dict[str, dict[tuple[int, Width, str], BilledSums]] = {}
        self.left_out: dict[str, BillTally] = {}
        self.currencies: set[str] = set()
        self.unit_nano = 10**9
        self.width = Width.MOMENT
        self.lines = self.with_id = 0
        self.span: tuple[int, int] | None = None
        self.has_money = False
        # How long after midnight of the zone days begin; an export may be in a zone of its own.
        self.skews_ms: set[int] = set()

    def read(self, lines: Iterable[VendorLine]) -> None:
        """Reads all lines."""
        for line in lines:
            self._add(line)
        self._settle_fees()
        self._take_for_days()
        if not self.lines:
            raise UnreadableBill("The bill has no line of a request")

    def _add(self, line: VendorLine) -> None:
        rates = self._rates
        if rates is not None and line.currency is not None and line.currency in rates.rates:
            found = rates.line(line)
            sums = self.converted.setdefault(line.currency, BillConverted())
            sums.add(line.amount_nano or 0, found.amount_nano or 0)
            line = found
        if line.currency is not None:
            if self._currency not in (None, line.currency):
                tally = self.left_out.setdefault(f"lines in {line.currency}", BillTally())
                tally.add(0, line.amount_nano or 0)
                return
            self.currencies.add(line.currency)
        if not line.asks:
            self.other.setdefault(line.item, BillTally()).add(0, line.amount_nano or 0)
            return
        self.lines += 1
        if line.amount_nano is not None:
            self.has_money = True
            if line.amount_nano:
                self.unit_nano = min(self.unit_nano, line.unit_nano)
        self.width = max(self.width, line.width)
        start, end = self._covered(line)
        first, last = self.span or (start, end)
        self.span = (min(first, start), max(last, end))
        if line.id is not None:
            self.with_id += 1
            self._spill.add_billed(line)
        self._midnights &= line.at_ms == start
        self._requests_stated |= line.requests is not None
        if line.width is Width.MOMENT and line.requests is None and line.item == "":
            line = msgspec.structs.replace(line, requests=1)
        width = max(line.width, Width.HOUR)
        if width is Width.DAY:
            self.skews_ms.add(line.at_ms - start)
        key = (period(line.at_ms, width, self._days)[0], width, line.model or "")
        of = self.sums
        if line.model is None and line.id is None and line.item not in _OF_MODELS:
            of = self._fees.setdefault(line.item, {})
        if key not in of:
            bounded(len(of))
            of[key] = BilledSums()
        of[key].add(line)

    def _covered(self, line: VendorLine) -> tuple[int, int]:
        """[start, end) of the days, or of the part of a month, that a line is about."""
        start, end = period(line.at_ms, max(line.width, Width.DAY), self._days)
        if line.end_ms is None or line.end_ms == end:
            return start, end
        if line.end_ms > end:
            raise UnreadableBill(
                f"line {line.number} covers the end of one month and a part of the next: ask the "
                "vendor for days (a bucket width of 1d), or for one month"
            )
        return line.at_ms, line.end_ms

    def _take_for_days(self) -> None:
        """Takes times that are all of midnight for days, as programs write dates."""
        if self.width is not Width.MOMENT or not self._midnights or self.with_id == self.lines:
            return
        self.width = Width.DAY
        self.skews_ms.add(0)
        self.sums = {
            (start, Width.DAY, model): sums for (start, _, model), sums in self.sums.items()
        }
        for sums in self.sums.values() if not self._requests_stated else ():
            sums.requests = None  # a line is no request then

    def _settle_fees(self) -> None:
        """Sets aside what is of no model in a bill that names models, such as searches."""
        named = any(model for _, _, model in self.sums)
        for item, of in self._fees.items():
            for key, sums in of.items():
                if named:
                    tally = self.other.setdefault(item, BillTally())
                    tally.count += sums.lines
                    tally.billed_nano += sums.amount_nano or 0
                else:
                    self.sums.setdefault(key, BilledSums()).merge(sums)
        self._fees = {}

    def period(self, from_ms: int | None, to_ms: int | None, zone: ZoneInfo) -> tuple[int, int]:
        """[from, to) as asked for, else that of the bill's own days.

        Raises UnreadableBill where no line lies in it: nothing would differ, and a bill that was
        held against a wrong month would look right.
        """
        assert self.span is not None, "there are lines"
        first, last = self.span
        start, end = first if from_ms is None else from_ms, last if to_ms is None else to_ms
        if last <= start or end <= first:
            raise UnreadableBill(
                "No line of the bill is in this period: its days are "
                f"{dates.local(first, zone):%Y-%m-%d} to {dates.local(last - 1, zone):%Y-%m-%d}. "
                "Name the bill's month, or leave the period out"
            )
        return start, end

    def moved(self) -> ZoneInfo | None:
        """Moves all days to the hour at which the bill's begin; the zone that has them, or None."""
        if self.width is not Width.DAY or len(self.skews_ms) != 1 or self.span is None:
            return None
        [skew_ms] = self.skews_ms
        hours, rest = divmod(skew_ms, HOUR_MS)
        zone = self._zone
        if rest and not rest % _QUARTER_MS:
            raise UnreadableBill(
                f"The bill's days begin {skew_ms // 60_000} minutes after midnight of {zone}: add "
                "the --zone in which they begin at midnight, such as Asia/Kolkata"
            )
        if not hours or rest or zone.utcoffset(datetime.fromtimestamp(0, UTC)):
            return None
        self.sums = {
            (start + skew_ms if width is Width.DAY else start, width, model): sums
            for (start, width, model), sums in self.sums.items()
        }
        self.span = (self.span[0] + skew_ms, self.span[1] + skew_ms)
        # The names of these zones have the sign the other way round.
        return ZoneInfo(f"Etc/GMT{hours if hours <= 12 else hours - 24:+d}")

    def level(self) -> Level:
        """The finest level that the lines allow."""
        if self.with_id == self.lines:
            return Level.REQUEST
        return (Level.HOUR, Level.HOUR, Level.DAY, Level.MONTH)[self.width]


def bounded(count: int) -> None:
    """Raises UnreadableBill where so many sums are too many to hold."""
    if count >= PAIRS_MAX:
        raise UnreadableBill(
            f"There are more than {PAIRS_MAX:,} hours and models: add --level day, or a shorter "
            "period"
        )
