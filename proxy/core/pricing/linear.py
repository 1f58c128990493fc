"""An amount as a sum of products, divided once: what a database can work out in 64 bits.

A row's price, with its discount, exchange and markup of one moment, is

    value  = base + Σ count · rate
    cost   = value / divisor                                                 rounded down
    charge = (cost · times - less + (rest · times + base) / divisor) / of    rounded down

in integers, where `rest` is what the division left of the value, and half a divisor is in each
base, so that rounding down is rounding half up. The rate of a part is what it costs beyond its
whole, so that a count is taken as it is booked: cached tokens are tokens of the input too.

It says the same as `amounts`, up to so many tokens as keep every step within 63 bits.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import msgspec

from proxy.core.pricing.amounts import ONE, PARTS, Factor, Rates

# The counts that a price is made of, in the order of `Linear.rates`, by their names in a record.
COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "searches",
)
SEARCHES_MAX: Final = 1_000  # of one request
TOKENS_MAX: Final = 2**40
# 35,000 units: of such amounts a quarter of a million have a sum within 63 bits.
NANO_MAX: Final = 2**45

_BITS: Final = 2**62
# Which part each count is, and which one it would be without it.
_PARTS: Final = (
    ("input", None),
    ("output", None),
    ("cached", "input"),
    ("reasoning", "output"),
    ("cache_write", "input"),
    ("cache_write_long", "cache_write"),
    ("audio_input", "input"),
    ("audio_output", "output"),
)
_OUTPUTS: Final = ("output", "reasoning", "audio_output")


class Markup(msgspec.Struct, frozen=True, gc=False):
    """What makes a charge of the cost and of what its division left.

    `times / of` is 1 + markup.
    """

    times: int
    less: int
    base: int
    of: int


class Linear(msgspec.Struct, frozen=True, gc=False):
    """A price at one moment, for an answer with a 2xx status.

    `rates` are those of COUNTS. `markup` is None where the charge is the cost. `tokens_max` bounds
    input and output, each; `output_max` is 0 where output has no rate. `searches_max` bounds the
    searches. `with_fees`: an answer without a 2xx status costs less.
    """

    base: int
    rates: tuple[int, ...]
    divisor: int
    markup: Markup | None
    tokens_max: int
    output_max: int
    searches_max: int
    with_fees: bool

    def amounts(self, counts: tuple[int, ...]) -> tuple[int, int]:
        """Cost and charge of counts in the order of COUNTS, in nano-units."""
        value = self.base + sum(
            count * rate for count, rate in zip(counts, self.rates, strict=True)
        )
        cost, rest = divmod(value, self.divisor)
        if self.markup is None:
            return cost, cost
        times, less, base, of = msgspec.structs.astuple(self.markup)
        return cost, (cost * times - less + (rest * times + base) // self.divisor) // of


ZERO: Final = Linear(
    0, (0,) * len(COUNTS), 1, None, TOKENS_MAX, TOKENS_MAX, SEARCHES_MAX, with_fees=False
)


def linear(rates: Rates, fx: Factor, markup: Factor = ONE) -> Linear | None:
    """The price as one sum; None where its numbers are too large, or images have a price.

    Also where input, or a part of it, has none.
    """
    of_part = dict(zip(PARTS, rates.tokens, strict=True))
    outputs_known = all(of_part[part] is not None for part in _OUTPUTS)
    known = {
        part: rate
        for part, rate in of_part.items()
        if rate is not None and (outputs_known or part not in _OUTPUTS)
    }
    if rates.image or len(known) < len(PARTS) - (0 if outputs_known else len(_OUTPUTS)):
        return None
    known |= {part: 0 for part in _OUTPUTS if part not in known}
    more = [
        (known[part] - (0 if whole is None else known[whole])) * fx.number for part, whole in _PARTS
    ]
    fee, search, scale = rates.request * fx.number, rates.search * fx.number, rates.scale * fx.scale
    common = gcd(fee, search, scale, *more)
    each = tuple(number // common for number in (*more, search))
    divisor = scale // common
    half = divisor // 2
    base = fee // common + half
    raised = None if markup.number == markup.scale else _markup(markup, divisor)
    most = min(_BITS, NANO_MAX * divisor)
    if raised is not None:
        if max(divisor * raised.times + raised.base, NANO_MAX * raised.times) > _BITS:
            return None
        most = min(most, NANO_MAX * divisor * raised.of // raised.times)
    per_token = sum(map(abs, each[:-1]))
    # The searches have half of what there is at most, and tokens the rest.
    searches_max = min(SEARCHES_MAX, most // 2 // max(1, each[-1]))
    rest = most - base - each[-1] * searches_max
    tokens_max = min(TOKENS_MAX, rest // max(1, per_token))
    if tokens_max < 1:
        return None
    return Linear(
        base,
        each,
        divisor,
        raised,
        tokens_max,
        tokens_max if outputs_known else 0,
        searches_max,
        bool(rates.request or rates.search),
    )


def _markup(markup: Factor, divisor: int) -> Markup:
    """The charge is what a value without its half is, times the markup, plus another half."""
    common = gcd(markup.number, markup.scale)
    times, of = markup.number // common, markup.scale // common
    base = divisor * of // 2 - divisor // 2 * times
    less = max(0, -(base // divisor))  # so that nothing below zero is divided
    return Markup(times, less, base + less * divisor, of)
