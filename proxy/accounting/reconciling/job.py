"""Holds the ledger against a bill, at the finest level that both allow.

    request   the bill has ids, and the ledger knows some of them
    hour      each line has a time or an hour
    day       each line has a day
    month     some line covers more

The bill is read once, the ledger once or twice. Requests are joined outside of memory; sums by
period and model are held, and bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.reconciling.bill_side import BillSide, bounded
from proxy.accounting.reconciling.bills import Bill
from proxy.accounting.reconciling.comparison import ReconcileAsk, Reconciled
from proxy.accounting.reconciling.own_side import OwnSide, Progress
from proxy.accounting.reconciling.spill import Spill
from proxy.core.calendar import Calendar
from proxy.core.reconciling.causes import Variant, under_other_terms
from proxy.core.reconciling.joined_models import JoinedModels
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import Level, OwnLine, own_line
from proxy.core.reconciling.moments import HOUR_MS, Width, period
from proxy.core.reconciling.periods import (
    OwnSlices,
    Pair,
    PeriodKey,
    PeriodMatcher,
)
from proxy.core.reconciling.requests import compare_request
from proxy.core.reconciling.result import BillTally, Tallies
from proxy.core.reconciling.sums import BilledSums, OwnSums
from proxy.core.records.repricing import standing
from proxy.core.usage import UsageRecord
from proxy.ledger.reading import BookReader

_MARGIN_MS: Final = 27 * HOUR_MS  # zones are up to 26 hours apart
_WIDTHS: Final = {Level.HOUR: Width.HOUR, Level.DAY: Width.DAY, Level.MONTH: Width.MONTH}
_OUTSIDE: Final = "lines outside of the period"


class _Job:
    """One comparison: what is asked, the period, and both sides."""

    def __init__(
        self, ask: ReconcileAsk, reader: BookReader, zone: ZoneInfo, advance: Progress | None
    ) -> None:
        self.ask = ask
        self.reader = reader
        self.zone = zone
        self.days = Calendar(zone)
        self.advance = advance
        self.models = JoinedModels(set(), set())
        self.shift_ms: int | None = None
        self.currency = ""
        self.from_ms = self.to_ms = 0
        # Requests with a cost in the bill's currency, and with one in another.
        self.comparable = self.foreign = 0
        self.foreign_currency = ""
        self.rates = None if ask.rates is None else ask.rates.rates
        self.booked: dict[str, int] = {}

    def settle(self, billed: BillSide) -> OwnSide:
        """Fixes period and currency, and opens the ledger's side with a margin around it."""
        if (zone := billed.moved()) is not None:
            self.zone, self.days = zone, Calendar(zone)
        self.from_ms, self.to_ms = billed.period(self.ask.from_ms, self.ask.to_ms, self.zone)
        own = OwnSide(
            self.reader,
            self.ask.upstreams,
            self.from_ms - _MARGIN_MS,
            self.to_ms + _MARGIN_MS,
        )
        if len(billed.currencies) > 1:
            raise UnreadableBill(
                f"The bill is in {' and '.join(sorted(billed.currencies))}: choose one with "
                "--currency"
            )
        self.currency = (
            self.ask.currency or next(iter(billed.currencies), "") or _own_currency(own) or "USD"
        )
        return own

    def inside(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms < self.to_ms

    def by_request(self, own: OwnSide, billed: BillSide, spill: Spill) -> Tallies | None:
        """Compares request by request; None if the ledger knows none of the bill's ids."""
        tallies = Tallies()
        for record in own.records(self.advance):
            line = self.line(record)
            if self.inside(line.at_ms):
                self._note_currency(record, line)
            if line.id is not None:
                spill.add_own(line)
            elif self.inside(line.at_ms):
                compare_request(tallies, _own_sums([line]), BilledSums(), 0, dict)
        if not spill.common():
            self.comparable = self.foreign = 0
            return None
        self._check_currency()
        for ours, theirs in spill.requests():
            sums = BilledSums()
            for each in theirs:
                sums.add(each, compared=True)
            own_inside = any(self.inside(line.at_ms) for line in ours)
            billed_inside = any(self.inside(line.at_ms) for line in theirs)
            if theirs and not (own_inside or billed_inside):
                tally = billed.left_out.setdefault(_OUTSIDE, BillTally())
                for each in theirs:
                    tally.add(0, each.amount_nano or 0)
            compare_request(
                tallies,
                _own_sums(ours),
                sums,
                billed.unit_nano,
                lambda ours=ours, sums=sums: self._other_terms(own, ours, sums),  # type: ignore[misc]
                own_inside=own_inside,
                billed_inside=billed_inside,
            )
        return tallies

    def by_period(self, own: OwnSide, billed: BillSide, level: Level, *, codes: bool) -> Tallies:
        """Compares the sums of each model and period. `codes`: see `JoinedModels`."""
        width = _WIDTHS[level]
        theirs: dict[PeriodKey, BilledSums] = {}
        for (start, covered, model), lines in billed.sums.items():
            # A part of a month may begin on any of its days.
            if self.inside(start if covered is not Width.MONTH else max(start, self.from_ms)):
                key = (period(start, width, self.days)[0], model)
                theirs.setdefault(key, BilledSums()).merge(lines)
            else:
                tally = billed.left_out.setdefault(_OUTSIDE, BillTally())
                tally.add(0, lines.amount_nano or 0)
        by_model = any(model for _, model in theirs)
        ours: dict[PeriodKey, OwnSums] = {}
        slices = OwnSlices()
        for record in own.records(self.advance):
            line = self.line(record)
            model = (line.model or "") if by_model else ""
            if level is not Level.HOUR:
                slices.add(line.at_ms, model, line.cost_nano or 0)
            if self.inside(line.at_ms):
                key = (period(line.at_ms, width, self.days)[0], model)
                if key not in ours:
                    bounded(len(ours))
                    ours[key] = OwnSums()
                ours[key].add(line if by_model else msgspec.structs.replace(line, model=None))
                self._note_currency(record, line)
        self._check_currency()
        self.models = JoinedModels(
            {name for _, name in ours}, {name for _, name in theirs}, codes=codes
        )
        slices.rename(self.models.ours)
        pairs: dict[PeriodKey, Pair] = {}
        for (start, name), sums in ours.items():
            pair = pairs.setdefault((start, self.models.ours[name]), Pair(OwnSums(), BilledSums()))
            pair.own.merge(sums)
        for (start, name), billed_sums in theirs.items():
            key = (start, self.models.theirs[name])
            pairs.setdefault(key, Pair(OwnSums(), BilledSums())).billed.merge(billed_sums)
        if self.models.unknown:
            for pair in pairs.values():
                pair.own.model = pair.billed.model = None
        matcher = PeriodMatcher(
            level,
            pairs,
            slices,
            billed.unit_nano,
            lambda start_ms: period(start_ms, width, self.days)[1],
        )
        unexplained = set(matcher.start())
        others = self._others(own, pairs, unexplained, width) if unexplained else {}
        self.shift_ms = matcher.shift_ms
        return matcher.finish(others)

    def by_hand(self, own: OwnSide) -> BillTally:
        """What was booked by hand for these upstreams in the period."""
        tally = BillTally()
        for record in own.by_hand:
            line = self.line(record)
            if self.inside(line.at_ms):
                tally.add(line.cost_nano or 0, 0)
        return tally

    def line(self, record: UsageRecord) -> OwnLine:
        return own_line(record, self.currency, self.rates)

    def _note_currency(self, record: UsageRecord, line: OwnLine) -> None:
        if record.cost_nano is not None and record.currency not in (None, self.currency):
            self.booked[record.currency] = self.booked.get(record.currency, 0) + record.cost_nano
        if line.cost_nano is not None:
            self.comparable += line.cost_nano != 0
        elif record.cost_nano is not None:
            self.foreign += 1
            self.foreign_currency = record.currency or ""

    def _check_currency(self) -> None:
        """Raises UnreadableBill where no cost of the ledger can be held against the bill."""
        if self.foreign and not self.comparable:
            raise UnreadableBill(
                f"The bill is in {self.currency}, and the ledger has costs in "
                f"{self.foreign_currency} only. Write price rows in {self.currency} with an "
                "exchange rate in `fx`, then `tollkeeper price rerate`; or state the bill's rate "
                f"with --rate {self.currency}=…; or say its own currency with --currency"
            )

    def _others(
        self,
        own: OwnSide,
        pairs: Mapping[PeriodKey, Pair],
        keys: set[PeriodKey],
        width: Width,
    ) -> dict[PeriodKey, dict[Variant, int]]:
        """What the requests of these pairs cost under other terms."""
        found: dict[PeriodKey, dict[Variant, int]] = {key: {} for key in keys}
        for record in own.records():
            line = self.line(record)
            model = self.models.ours.get(line.model or "", "")
            key = (period(line.at_ms, width, self.days)[0], model)
            if key not in keys or not self.inside(line.at_ms) or line.cost_nano is None:
                continue
            book = own.book_of(record)
            if book is None:
                continue
            name = pairs[key].billed.model
            terms = under_other_terms(record, book, model=name, currency=self.currency)
            for variant, amount in terms.items():
                sums = found[key]
                base = sums.get(variant, pairs[key].own.cost_nano)
                sums[variant] = base + amount - line.cost_nano
        return found

    def _other_terms(
        self, own: OwnSide, ours: Sequence[OwnLine], billed: BilledSums
    ) -> dict[Variant, int]:
        if len(ours) != 1 or (entry := self.reader.record(ours[0].record)) is None:
            return {}
        later = [each.record for each in self.reader.adjustments(ours[0].record)]
        record = standing(entry.record, later)
        book = own.book_of(record)
        if book is None:
            return {}
        return under_other_terms(record, book, model=billed.model, currency=self.currency)


def reconcile(
    bill: Bill,
    ask: ReconcileAsk,
    reader: BookReader,
    own_zone: ZoneInfo,
    progress: Callable[[int], Progress] | None = None,
) -> Reconciled:
    """Compares. Raises UnreadableBill, OSError and what the reader raises."""
    zone = bill.zone(own_zone)
    job = _Job(ask, reader, zone, None)
    with Spill() as spill:
        billed = BillSide(spill, ask.currency, zone, ask.rates)
        billed.read(bill.lines(own_zone))
        own = job.settle(billed)
        if progress is not None:
            job.advance = progress(own.stretch.through - own.stretch.after)
        level = _level(ask, billed)
        tallies = None
        if level is Level.REQUEST:
            tallies = job.by_request(own, billed, spill)
        unknown = level is Level.REQUEST and tallies is None
        if tallies is None:
            width = (Level.HOUR, Level.HOUR, Level.DAY, Level.MONTH)[billed.width]
            level = width if unknown else level
            tallies = job.by_period(own, billed, level, codes=bill.codes)
    left_out = dict(billed.left_out)
    for reason, (count, nano) in bill.left_out.items():
        left_out[reason] = BillTally(count, 0, nano)
    return _result(job, bill, billed, tallies, level, left_out, job.by_hand(own), unknown)


def _result(
    job: _Job,
    bill: Bill,
    billed: BillSide,
    tallies: Tallies,
    level: Level,
    left_out: dict[str, BillTally],
    by_hand: BillTally,
    unknown: bool,
) -> Reconciled:
    compared = (
        tallies.matched,
        tallies.missing_here,
        tallies.missing_there,
        *tallies.differing.values(),
    )
    return Reconciled(
        shape=bill.shape,
        columns=bill.columns,
        level=level,
        currency=job.currency,
        zone=str(job.zone),
        from_ms=job.from_ms,
        to_ms=job.to_ms,
        upstreams=job.ask.upstreams,
        ledger_nano=sum(tally.own_nano for tally in compared),
        billed_nano=sum(tally.billed_nano for tally in compared),
        matched=tallies.matched,
        missing_here=tallies.missing_here,
        missing_there=tallies.missing_there,
        differing=dict(sorted(tallies.differing.items())),
        gross_nano=tallies.gross_nano(),
        other=billed.other,
        left_out=left_out,
        by_hand=by_hand,
        names=job.models.told,
        models_unknown=job.models.unknown,
        day_begins_ms=job.shift_ms,
        ids_unknown=unknown,
        has_money=billed.has_money,
        difference_count=tallies.count,
        differences=tallies.largest(),
        converted=billed.converted,
        booked_currency=next(iter(job.booked), None),
        booked_nano=next(iter(job.booked.values()), None),
    )


def _level(ask: ReconcileAsk, billed: BillSide) -> Level:
    """The level that was asked for, or the finest. Raises UnreadableBill."""
    finest = billed.level()
    order = list(Level)
    if ask.level is None or order.index(ask.level) >= order.index(finest):
        return ask.level or finest
    raise UnreadableBill(
        f"The bill goes down to the {finest.value} and not to the {ask.level.value}: leave --level "
        "out"
    )


def _own_sums(lines: Sequence[OwnLine]) -> OwnSums:
    sums = OwnSums()
    for line in lines:
        sums.add(line)
    return sums


def _own_currency(own: OwnSide) -> str | None:
    """The currency of the first price in the ledger's side."""
    return next(
        (record.price_currency for record in own.records() if record.price_currency is not None),
        None,
    )
