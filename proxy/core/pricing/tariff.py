"""A tariff: what all requests with the same names cost, within bounds of time and size.

The price of a request hangs on its names, on its time and on how long its input is. Between two
moments at which a row, an exchange rate, a discount or a markup begins, and between two lengths at
which another row applies, it is one sum of products (`linear`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.pricing.amounts import ONE
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.linear import Linear, linear
from proxy.core.pricing.option import applying, moments, step_at

FIRST_MS: Final = -(2**62)
END_MS: Final = 2**62
NO_TOKENS: Final = -1


class Names(msgspec.Struct, frozen=True, gc=False):
    """The names of a record that its price hangs on."""

    upstream: str
    team: str | None
    model_requested: str | None
    model_served: str | None
    service_tier: str | None


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """Starts in [from_ms, to_ms), and more input tokens than `above`, at most `upto`."""

    from_ms: int = FIRST_MS
    to_ms: int = END_MS
    above: int = NO_TOKENS
    upto: int = END_MS

    def within(self, other: Bounds) -> Bounds:
        """Where both hold."""
        return Bounds(
            max(self.from_ms, other.from_ms),
            min(self.to_ms, other.to_ms),
            max(self.above, other.above),
            min(self.upto, other.upto),
        )


class NotLinear(Exception):
    """The price is no sum of products, or one of too large numbers."""


def price_of(
    book: PriceBook, names: Names, at_ms: int, input_tokens: int
) -> tuple[Linear | None, Bounds]:
    """The price of requests with these names by a book, and the bounds within which it holds.

    None: it is not known. Raises NotLinear.
    """
    plan = book.plan(names.upstream, names.model_requested, names.model_served, names.service_tier)
    markups = book.markups(names.team)
    turns = {*moments(markups)}
    for option in plan:
        turns.update(option.turns(at_ms))
    sizes = {option.row.above_input_tokens for option in plan} - {None}
    bounds = _around(turns, at_ms, (size for size in sizes if size is not None), input_tokens)
    applied = applying(plan, input_tokens, at_ms)
    fx = None if applied is None else applied.exchange(at_ms)[0]
    if applied is None or fx is None:
        return None, bounds
    markup = step_at(markups, at_ms)
    found = linear(applied.rates(at_ms)[0], fx, ONE if markup is None else markup[0])
    if found is None:
        raise NotLinear
    return found, bounds


def _around(turns: Iterable[int], at_ms: int, sizes: Iterable[int], input_tokens: int) -> Bounds:
    times, lengths = sorted(turns), sorted(sizes)
    return Bounds(
        max((ms for ms in times if ms <= at_ms), default=FIRST_MS),
        min((ms for ms in times if ms > at_ms), default=END_MS),
        max((size for size in lengths if size < input_tokens), default=NO_TOKENS),
        min((size for size in lengths if size >= input_tokens), default=END_MS),
    )
