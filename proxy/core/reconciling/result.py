"""What holding the ledger against a bill came to: sums of each verdict, and the differences."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from proxy.core.reconciling.causes import Cause
from proxy.core.reconciling.sums import BilledSums, OwnSums

# Differences that are told one by one, the largest first. The sums hold all of them.
TOLD_MAX: Final = 10_000
# A cause without which a difference is the remainder.
UNKNOWN: Final = "unknown"
_T = TypeVar("_T")


class BillVerdict(enum.StrEnum):
    """What comparing one thing came to."""

    MATCHED = "matched"
    MISSING_HERE = "missing_here"  # on the bill and not in the ledger: it went round the proxy
    MISSING_THERE = "missing_there"  # in the ledger and not on the bill
    DIFFERING = "differing"


class BilledDifference(msgspec.Struct, frozen=True):
    """One thing on which the bill and the ledger differ. Amounts are in nano-units.

    `id` is the vendor's name of the request, `record` the ledger's first record of it. `line` is
    the place of the first line in the file, 0 where there is none.
    """

    verdict: BillVerdict
    cause: Cause | None
    at_ms: int | None
    model: str | None
    id: str | None
    record: str | None
    line: int
    requests: int | None
    own_nano: int | None
    billed_nano: int | None
    difference_nano: int
    own_tokens: int | None
    billed_tokens: int | None
    items: str = ""


class BillTally(msgspec.Struct):
    """How many things, and what they cost by the ledger and by the bill."""

    count: int = 0
    own_nano: int = 0
    billed_nano: int = 0

    def add(self, own_nano: int, billed_nano: int) -> None:
        """Adds one thing."""
        self.count += 1
        self.own_nano += own_nano
        self.billed_nano += billed_nano

    @property
    def difference_nano(self) -> int:
        """What the bill has more."""
        return self.billed_nano - self.own_nano


class BillConverted(msgspec.Struct):
    """Lines of the bill in one currency: how many, what they say, and that at the stated rate."""

    count: int = 0
    original_nano: int = 0
    nano: int = 0

    def add(self, original_nano: int, nano: int) -> None:
        """Adds a line."""
        self.count += 1
        self.original_nano += original_nano
        self.nano += nano


class Tallies:
    """Adds up what was compared, and keeps the largest differences.

    The bill less the ledger is always: missing here, less missing there, and what differs.
    """

    def __init__(self) -> None:
        self.matched, self.missing_here, self.missing_there = BillTally(), BillTally(), BillTally()
        self.differing: dict[str, BillTally] = {}
        self._largest: list[tuple[int, int, BilledDifference]] = []
        self._told = 0

    def match(self, own: OwnSums, billed: BilledSums) -> None:
        """Adds what both sides say alike."""
        self.matched.add(own.cost_nano, billed.amount_nano or 0)

    def differ(
        self,
        verdict: BillVerdict,
        cause: Cause | None,
        own: OwnSums | None,
        billed: BilledSums | None,
        *,
        part: tuple[int, int] | None = None,
    ) -> None:
        """Adds a difference. `part`: what of both amounts it is about, if that is not all."""
        amounts = (
            0 if own is None else own.cost_nano,
            0 if billed is None or billed.amount_nano is None else billed.amount_nano,
        )
        if billed is not None and billed.amount_nano is None:
            amounts = (amounts[0], amounts[0])  # the file has no money: tokens alone differ
        amounts = amounts if part is None else part
        if verdict is BillVerdict.DIFFERING:
            self.differing.setdefault(cause or UNKNOWN, BillTally()).add(*amounts)
        else:
            tally: BillTally = getattr(self, verdict.value)
            tally.add(*amounts)
        self._tell(_difference(verdict, cause, own, billed, amounts))

    def largest(self) -> list[BilledDifference]:
        """The largest differences, at most TOLD_MAX."""
        ordered = sorted(self._largest, key=lambda kept: (-kept[0], kept[1]))
        return [difference for _, _, difference in ordered]

    @property
    def count(self) -> int:
        """How many differences there are."""
        return self._told

    def gross_nano(self) -> int:
        """What differs, without setting one thing off against another.

        What another day boundary moves from one day to the next is set off: it is billed once.
        """
        differing: Mapping[str, BillTally] = self.differing
        return (
            abs(self.missing_here.billed_nano)
            + abs(self.missing_there.own_nano)
            + sum(abs(tally.difference_nano) for tally in differing.values())
        )

    def _tell(self, difference: BilledDifference) -> None:
        self._told += 1
        kept = (abs(difference.difference_nano), -self._told, difference)
        if len(self._largest) < TOLD_MAX:
            heapq.heappush(self._largest, kept)
        else:
            heapq.heappushpop(self._largest, kept)


def _difference(
    verdict: BillVerdict,
    cause: Cause | None,
    own: OwnSums | None,
    billed: BilledSums | None,
    amounts: tuple[int, int],
) -> BilledDifference:
    counts = None if billed is None else (billed.input_tokens, billed.output_tokens)
    tokens = None if counts is None or None in counts else sum(filter(None, counts))
    items = "" if billed is None else ", ".join(sorted(filter(None, billed.items)))
    return BilledDifference(
        verdict=verdict,
        cause=cause,
        at_ms=_first(None if own is None else own.at_ms, None if billed is None else billed.at_ms),
        model=_first(None if billed is None else billed.model, None if own is None else own.model),
        id=None if billed is None else billed.id,
        record=None if own is None else own.record,
        line=0 if billed is None else billed.number,
        requests=None if own is None else own.requests,
        own_nano=None if own is None else amounts[0],
        billed_nano=None if billed is None else amounts[1],
        difference_nano=amounts[1] - amounts[0],
        own_tokens=None if own is None else own.input_tokens + own.output_tokens,
        billed_tokens=tokens,
        items=items,
    )


def _first(one: _T | None, other: _T | None) -> _T | None:
    return other if one is None else one
