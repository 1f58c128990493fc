"""Compares sums: what the bill and the ledger have of each model and hour, day or month."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from proxy.core.reconciling.causes import Cause, Variant, cause, same_amount, slack
from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.result import BillVerdict, Tallies
from proxy.core.reconciling.sums import BilledSums, OwnSums

SLICE_MS: Final = 1_800_000  # zones differ by half hours
_SLICES_OFF_MAX: Final = 28  # 14 hours either way
_RUN_MAX: Final = 3  # hours or days over which a request's start and its line may lie apart

# Start of the period, and the model's name as it is compared; "" where the file names none.
PeriodKey = tuple[int, str]


class Pair(msgspec.Struct):
    """Both sides of one period and model."""

    own: OwnSums
    billed: BilledSums


class OwnSlices:
    """What the ledger's requests of each model cost, by half hour of their start."""

    def __init__(self) -> None:
        self._nano: dict[tuple[int, str], int] = {}

    def add(self, at_ms: int, model: str, cost_nano: int) -> None:
        """Adds a request."""
        key = (at_ms - at_ms % SLICE_MS, model)
        self._nano[key] = self._nano.get(key, 0) + cost_nano

    def rename(self, names: Mapping[str, str]) -> None:
        """Adds up models that are compared as one."""
        before, self._nano = self._nano, {}
        for (at_ms, model), nano in before.items():
            self.add(at_ms, names.get(model, model), nano)

    def between(self, start_ms: int, end_ms: int, model: str) -> int:
        """The sum of [start, end); both are whole half hours."""
        return sum(self._nano.get((at_ms, model), 0) for at_ms in range(start_ms, end_ms, SLICE_MS))


class PeriodMatcher:
    """Holds the pairs of all periods and finds what explains their differences.

    `end_of` gives the end of the period that begins at a time.
    """

    def __init__(
        self,
        level: Level,
        pairs: dict[PeriodKey, Pair],
        slices: OwnSlices,
        unit_nano: int,
        end_of: Callable[[int], int],
    ) -> None:
        self._level = level
        self._pairs = pairs
        self._slices = slices
        self._unit_nano = unit_nano
        self._end_of = end_of
        self.tallies = Tallies()
        # How much later than here the vendor's day begins, where that explains something.
        self.shift_ms: int | None = None
        self._open: dict[PeriodKey, Pair] = {}

    def start(self) -> list[PeriodKey]:
        """Compares, and returns the pairs that only other prices may explain."""
        for key, pair in sorted(self._pairs.items()):
            if pair.own.requests and pair.billed.lines and same_amount(pair.own, pair.billed):
                self.tallies.match(pair.own, pair.billed)
            elif pair.own.requests or pair.billed.lines:
                self._open[key] = pair
        rounded = {key: pair for key, pair in self._open.items() if self._is_rounded(pair)}
        self._open = {key: pair for key, pair in self._open.items() if key not in rounded}
        self._rename()
        self._shift()
        self._neighbours()
        self._open |= rounded
        return [key for key, pair in self._open.items() if pair.own.requests and pair.billed.lines]

    def finish(self, others: Mapping[PeriodKey, Mapping[Variant, int]]) -> Tallies:
        """Names the causes of what is still open; `others` are the amounts under other terms."""
        for key, pair in sorted(self._open.items()):
            self._settle(pair, others.get(key, {}))
        return self.tallies

    def _is_rounded(self, pair: Pair) -> bool:
        """Whether the places that the bill shows explain all that differs."""
        if pair.billed.amount_nano is None or not pair.billed.lines or pair.own.unpriced:
            return False
        allowed = slack(pair.own, pair.billed, self._unit_nano).shown_nano
        return abs(pair.billed.amount_nano - pair.own.cost_nano) <= allowed

    def _settle(self, pair: Pair, others: Mapping[Variant, int]) -> None:
        own, billed, tallies = pair.own, pair.billed, self.tallies
        if not own.requests:
            if billed.amount_nano != 0:
                tallies.differ(BillVerdict.MISSING_HERE, None, None, billed)
            return
        if not billed.lines:
            if own.cost_nano or own.unpriced > own.failed:
                tallies.differ(BillVerdict.MISSING_THERE, None, own, None)
            return
        found = cause(own, billed, self._unit_nano, others)
        more = 0 if billed.requests is None else billed.requests - (own.requests - own.failed)
        difference = (billed.amount_nano or 0) - own.cost_nano
        if found not in (None, Cause.ESTIMATE) or billed.amount_nano is None or not more:
            tallies.differ(BillVerdict.DIFFERING, found, own, billed)
        elif more > 0 and difference > 0:
            # The ledger's requests are on the bill, and others beside them.
            tallies.matched.add(own.cost_nano, own.cost_nano)
            tallies.differ(BillVerdict.MISSING_HERE, None, own, billed, part=(0, difference))
        elif more < 0 and difference < 0:
            tallies.matched.add(billed.amount_nano, billed.amount_nano)
            tallies.differ(BillVerdict.MISSING_THERE, None, own, billed, part=(-difference, 0))
        else:
            tallies.differ(BillVerdict.DIFFERING, found, own, billed)

    def _rename(self) -> None:
        """Finds models that are billed under another name: the same amount in the same period."""
        here: dict[int, list[PeriodKey]] = {}
        for key, pair in self._open.items():
            if not pair.billed.lines and pair.own.cost_nano:
                here.setdefault(key[0], []).append(key)
        there = [key for key, pair in self._open.items() if not pair.own.requests]
        for key in there:
            billed = self._open[key].billed
            for other in here.get(key[0], []):
                own = self._open[other].own
                if same_amount(own, billed):
                    self.tallies.differ(BillVerdict.DIFFERING, Cause.MODEL_ALIAS, own, billed)
                    here[key[0]].remove(other)
                    del self._open[key], self._open[other]
                    break

    def _shift(self) -> None:
        """Finds how much later or earlier the vendor's day begins, if that explains anything."""
        if self._level not in (Level.DAY, Level.MONTH):
            return
        fits: dict[int, list[PeriodKey]] = {}
        exact: set[int] = set()
        for key, pair in self._open.items():
            if pair.billed.amount_nano is None or pair.own.unpriced:
                continue
            allowed = slack(pair.own, pair.billed, self._unit_nano)
            for shift_ms, moved in self._moved(key):
                off = abs(pair.billed.amount_nano - moved)
                if moved != pair.own.cost_nano and off <= allowed.shown_nano:
                    fits.setdefault(shift_ms, []).append(key)
                    if off <= allowed.exact_nano + _moved_slack(pair):
                        exact.add(shift_ms)
        if not fits:
            return
        # Where several shifts come to the same, whole hours are likelier.
        best = max(
            fits,
            key=lambda shift_ms: (
                len(fits[shift_ms]),
                shift_ms % (2 * SLICE_MS) == 0,
                -abs(shift_ms),
            ),
        )
        if len(fits[best]) < 2 and best not in exact:
            return
        self.shift_ms = best
        for key in fits[best]:
            pair = self._open.pop(key)
            self.tallies.differ(BillVerdict.DIFFERING, Cause.DAY_BOUNDARY, pair.own, pair.billed)

    def _moved(self, key: PeriodKey) -> Iterator[tuple[int, int]]:
        """(shift, what the ledger has in the period moved by it), for each other zone."""
        start_ms, end_ms = key[0], self._end_of(key[0])
        for slices in range(1, _SLICES_OFF_MAX + 1):
            for shift_ms in (slices * SLICE_MS, -slices * SLICE_MS):
                yield (
                    shift_ms,
                    self._slices.between(start_ms + shift_ms, end_ms + shift_ms, key[1]),
                )

    def _neighbours(self) -> None:
        """Finds periods next to each other whose differences cancel out.

        A vendor may date a request by its end, so that it lies in the next hour or day.
        """
        if self._level is Level.MONTH:
            return
        for first in sorted(self._open, key=lambda key: (key[1], key[0])):
            run = self._run(first)
            if not run:
                continue
            own, billed = OwnSums(), BilledSums()
            for key in run:
                pair = self._open.pop(key)
                own.merge(pair.own)
                billed.merge(pair.billed)
            if self._level is Level.HOUR:
                self.tallies.match(own, billed)
            else:
                self.tallies.differ(BillVerdict.DIFFERING, Cause.DAY_BOUNDARY, own, billed)

    def _run(self, first: PeriodKey) -> list[PeriodKey]:
        """The open periods from `first` on whose sum agrees; empty if there is no such run."""
        run: list[PeriodKey] = []
        key = first
        own, billed = OwnSums(), BilledSums()
        while key in self._open and len(run) < _RUN_MAX:
            pair = self._open[key]
            if pair.billed.amount_nano is None and pair.billed.lines:
                return []
            own.merge(pair.own)
            billed.merge(pair.billed)
            run.append(key)
            if len(run) > 1 and billed.lines and own.requests and same_amount(own, billed):
                return run
            key = (self._end_of(key[0]), key[1])
        return []


def _moved_slack(pair: Pair) -> int:
    """What requests that move into the period may add by rounding: as many again."""
    return pair.own.requests + pair.billed.lines
