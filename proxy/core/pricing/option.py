"""One way to price an answer: a row, its discounts and its rates of exchange, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from proxy.core.pricing.amounts import ONE, Factor, Rates, compile_rates
from proxy.core.pricing.pricelist import DAY_MINUTES, MINUTE_MS, PriceRow
from proxy.core.pricing.terms import DatedRate
from proxy.core.usage import Source, UsageRecord

MODEL_CHARS_MAX: Final = 256  # of a glob in a record, whose size is bounded

_T = TypeVar("_T")
# From when on, what was made of the decimal, the decimal; the latest first.
Steps = tuple[tuple[int | None, _T, str], ...]


class Option:
    """A row, ready to price with.

    A row without any rate says that the price cannot be told: `priced` is False.
    """

    __slots__ = ("_exchange", "_rates", "bounded", "model", "priced", "row", "undated")

    def __init__(
        self, row: PriceRow, discounts: Sequence[DatedRate], exchange: Steps[Factor] | None
    ) -> None:
        self.row = row
        self.model = row.model[:MODEL_CHARS_MAX]
        self.bounded = (
            row.above_input_tokens is not None
            or row.from_ms is not None
            or row.hours_utc is not None
        )
        decimals = row.rates()
        self.priced = bool(decimals)
        self._rates = compiled(discounts, lambda discount: compile_rates(decimals, discount))
        self._exchange = exchange
        # its rates, discount and exchange are the same at all times
        self.undated = always(self._rates) and (exchange is None or always(exchange))

    def rates(self, at_ms: int) -> tuple[Rates, str]:
        """The row's rates after the discount of that time, and the discount."""
        found = step_at(self._rates, at_ms)
        assert found is not None, "the last discount always holds"
        return found

    def exchange(self, at_ms: int) -> tuple[Factor | None, str | None]:
        """The rate of exchange at that time, and how it was written.

        (None, None) before the first one.
        """
        if self._exchange is None:
            return ONE, None
        found = step_at(self._exchange, at_ms)
        return (None, None) if found is None else found

    def turns(self, at_ms: int) -> Iterator[int]:
        """The moments at which it may begin or cease to apply, or its price may change.

        Of the hours of a day, those of the days around `at_ms`.
        """
        if self.row.from_ms is not None:
            yield self.row.from_ms
        yield from moments(self._rates)
        yield from moments(self._exchange or ())
        day = at_ms // MINUTE_MS // DAY_MINUTES * DAY_MINUTES
        for minute in self.row.hours_utc or ():
            for days in (-1, 0, 1):
                yield (day + days * DAY_MINUTES + minute) * MINUTE_MS


class PriceReach(msgspec.Struct, frozen=True):
    """The plans of each tier, and the input tokens from which on another row may apply."""

    plans: tuple[tuple[Option, ...], ...]
    inputs: tuple[int, ...]


def applying(plan: tuple[Option, ...], input_tokens: int | None, at_ms: int) -> Option | None:
    """The first row of a plan that applies; None if there is none or it has no rates."""
    for option in plan:
        if not option.bounded or option.row.applies(
            0 if input_tokens is None else input_tokens, at_ms
        ):
            return option if option.priced else None
    return None


def of_batches(plan: tuple[Option, ...]) -> tuple[Option, ...]:
    """The rows that price a batch: those of its tier alone, since no vendor bills the usual price.

    None where one of them depends on the length of a prompt, which the sum of all does not tell.
    """
    own = tuple(option for option in plan if option.row.service_tier is not None)
    told = all(option.row.above_input_tokens is None for option in own)
    return own if told else ()


def answered_status(record: UsageRecord) -> int | None:
    """The status that fees go by: a 2xx without an answer has none."""
    return None if record.source is Source.NONE and record.reason is None else record.status


def compiled(dated: Sequence[DatedRate], make: Callable[[str], _T]) -> Steps[_T]:
    """The dated decimals, each with what is made of it."""
    return tuple((step.from_ms, make(step.rate), step.rate) for step in dated)


def always(dated: Steps[_T]) -> bool:
    """Whether one step holds at all times."""
    return bool(dated) and dated[0][0] is None


def moments(dated: Steps[_T]) -> Iterator[int]:
    """From when on each of the steps holds that do not always hold."""
    return (from_ms for from_ms, _, _ in dated if from_ms is not None)


def step_at(dated: Steps[_T], at_ms: int) -> tuple[_T, str] | None:
    """The step that holds then; None before the first one."""
    for from_ms, made, text in dated:
        if from_ms is None or from_ms <= at_ms:
            return made, text
    return None
