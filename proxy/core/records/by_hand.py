"""Entries that a person makes: an amount for a month, or use that moves to another team or label.

Each is an adjustment that corrects no single record. It has no request of its own. What it is about
stands in its names, and why in its reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Final

import msgspec

from proxy.core.ids import uuid7
from proxy.core.money import NANO, NANO_DIGITS
from proxy.core.records.canonical import COLUMNS, MEASURE_MAX, MEASURES, Value
from proxy.core.usage import Outcome, Source, UsageRecord

BY_HAND: Final = "by_hand"  # writer and origin
NOBODY: Final = "-"  # no name of a key or an upstream begins so
_AMOUNT: Final = re.compile(rf"(-?)([0-9]{{1,10}})(?:\.([0-9]{{1,{NANO_DIGITS}}}))?")
_MOVED: Final = tuple(name for name in MEASURES if name != "upstream_cost_nano")
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}
_SUMMED: Final = tuple(_PLACE[name] for name in _MOVED)


class Whose(msgspec.Struct, frozen=True, kw_only=True):
    """The names that an entry is booked under."""

    key_id: str = NOBODY
    team: str | None = None
    labels: dict[str, str] = {}
    upstream: str = NOBODY
    model: str | None = None


class EnteredAmount(msgspec.Struct, frozen=True, kw_only=True):
    """An amount in nano-units of `currency`, None where a side of it does not change.

    original_nano · the same before the exchange, in `original_currency`; None: nothing is exchanged
    """

    cost_nano: int | None
    charge_nano: int | None
    currency: str
    original_nano: int | None = None
    original_currency: str | None = None
    fx_rate: str | None = None


class Entering(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows of one order have: its name, when they count, and why they were made.

    stamp_ms · stands in the ids: the same whenever the order is given again
    """

    name: str
    stamp_ms: int
    started_at_ms: int
    reason: str


def nano_of(text: str) -> int:
    """An amount such as -12.50 in nano-units. Raises ValueError with what to write."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:40]!r} is no amount: write -12.50, with at most ten digits and {NANO_DIGITS} "
            "decimals"
        )
    sign, whole, decimals = match.groups()
    nano: int = int(whole) * NANO + int((decimals or "").ljust(NANO_DIGITS, "0"))
    return -nano if sign else nano


def exchanged(nano: int, rate: str) -> int:
    """An amount at a rate of exchange, rounded once, halves away from zero.

    So an amount and what takes it back cancel out.
    """
    exact = floor(abs(nano) * Fraction(rate) + Fraction(1, 2))
    return -exact if nano < 0 else exact


def entry(order: Entering, whose: Whose, money: EnteredAmount) -> list[UsageRecord]:
    """The rows of an amount: one, or several where no column can hold it."""
    numbers = {
        "cost_nano": money.cost_nano,
        "charge_nano": money.charge_nano,
        "cost_original_nano": money.original_nano,
    }
    return [
        _record(
            order,
            ("entry", str(n)),
            whose,
            part,
            currency=money.currency,
            price_currency=money.original_currency or money.currency,
            fx_rate=money.fx_rate,
        )
        for n, part in enumerate(_parts(numbers))
    ]


class Moving:
    """Sums up what the chosen rows say by their names, and moves it to others.

    to_team · the team that it moves to; None: it keeps its own    to_labels · what they become
    """

    def __init__(self, to_team: str | None, to_labels: Mapping[str, str]) -> None:
        self._to_team = to_team
        self._to_labels = dict(to_labels)
        self._sums: dict[_Names, list[int | None]] = {}
        self.requests = 0
        # Requests whose price may come later: it would stay where they are.
        self._unpriced: set[Value] = set()

    @property
    def unpriced(self) -> int:
        """How many of the requests have no price."""
        return len(self._unpriced)

    def add(self, row: Sequence[Value]) -> None:
        """Count one row, in the order of `canonical.COLUMNS`."""
        if row[_PLACE["kind"]] == "usage":
            self.requests += 1
            if row[_PLACE["cost_nano"]] is None:
                self._unpriced.add(row[_PLACE["id"]])
        elif row[_PLACE["cost_nano"]] is not None:
            self._unpriced.discard(row[_PLACE["adjusts"]])
        names = _Names.of(row)
        sums = self._sums.setdefault(names, [None] * len(_MOVED))
        for place, column in enumerate(_SUMMED):
            value = row[column]
            if isinstance(value, int):
                sums[place] = (sums[place] or 0) + value

    def pairs(self, order: Entering) -> Iterator[tuple[UsageRecord, UsageRecord]]:
        """What is taken from the old names and put on the new ones, which cancel out."""
        for names, sums in sorted(self._sums.items(), key=lambda line: repr(line[0])):
            old = names.whose()
            new = msgspec.structs.replace(
                old,
                team=old.team if self._to_team is None else self._to_team,
                labels=old.labels | self._to_labels,
            )
            if new == old or not any(sums):
                continue
            currencies = {"currency": names.currency, "price_currency": names.price_currency}
            for n, part in enumerate(_parts(dict(zip(_MOVED, sums, strict=True)))):
                less = {name: None if value is None else -value for name, value in part.items()}
                place = (*map(str, msgspec.structs.astuple(names)), str(n))
                yield (
                    _record(order, ("from", *place), old, less, **currencies),
                    _record(order, ("to", *place), new, part, **currencies),
                )


class _Names(msgspec.Struct, frozen=True):
    """What rows have in common that are moved together."""

    key_id: str
    team: str | None
    labels: str
    upstream: str
    model: str | None
    currency: str | None
    price_currency: str | None

    @classmethod
    def of(cls, row: Sequence[Value]) -> _Names:
        names = ("team", "model_requested", "currency", "price_currency")
        team, model, currency, price_currency = (
            None if (name := row[_PLACE[column]]) is None else str(name) for column in names
        )
        return cls(
            str(row[_PLACE["key_id"]]),
            team,
            str(row[_PLACE["labels"]]),
            str(row[_PLACE["upstream"]]),
            model,
            currency,
            price_currency,
        )

    def whose(self) -> Whose:
        return Whose(
            key_id=self.key_id,
            team=self.team,
            labels=msgspec.json.decode(self.labels, type=dict[str, str]),
            upstream=self.upstream,
            model=self.model,
        )


def _parts(numbers: Mapping[str, int | None]) -> Iterator[dict[str, int | None]]:
    """The numbers in parts that columns can hold; their sums are the numbers."""
    left = dict(numbers)
    while True:
        part = {
            name: None if value is None else max(-MEASURE_MAX, min(MEASURE_MAX, value))
            for name, value in left.items()
        }
        yield part
        left = {
            name: None if value is None else value - (part[name] or 0)
            for name, value in left.items()
        }
        if not any(left.values()):
            return


def _record(
    order: Entering,
    place: Sequence[str],
    whose: Whose,
    numbers: Mapping[str, int | None],
    *,
    currency: str | None,
    price_currency: str | None,
    fx_rate: str | None = None,
) -> UsageRecord:
    text = msgspec.json.encode([BY_HAND, order.name, *place])
    values: dict[str, int | str | None] = {
        **numbers,
        "currency": currency,
        "price_currency": price_currency,
        "fx_rate": fx_rate,
    }
    return UsageRecord(
        id=uuid7(order.stamp_ms, hashlib.sha256(text).digest()[:10]),
        writer=BY_HAND,
        origin=BY_HAND,
        kind="adjustment",
        reason=order.reason,
        started_at_ms=order.started_at_ms,
        duration_ms=0,
        key_id=whose.key_id,
        team=whose.team,
        labels=whose.labels,
        endpoint=BY_HAND,
        upstream=whose.upstream,
        model_requested=whose.model,
        outcome=Outcome.COMPLETED,
        input_source=Source.NONE,
        output_source=Source.NONE,
        source=Source.NONE,
        # The checker knows no types of single fields here: they have those of the order.
        **values,  # type: ignore[arg-type]
    )
