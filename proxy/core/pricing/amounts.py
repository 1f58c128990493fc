"""What a record costs: tokens × rates in integers, rounded half up once.

No fraction, decimal or float is on the way. A row's decimals are compiled to integers on one scale
(`Rates`), so that a sum of products is exact.

Each token is priced once:

    input  = plain + cached + cache_write + cache_write_long + audio_input
    output = plain + reasoning + audio_output

A part that is larger than the rest of its whole is cut down to it, in that order; the long writes
are among the writes.

    value         = (Σ tokens · rate / 1,000,000 + image · images + search · searches + request)
                    · (1 − discount)
    cost_original = round(value)
    cost          = round(value · fx)
    charge        = round(value · fx · (1 + markup))

Images, searches and the request have a price only in an answer with a 2xx status. What a path's
charge class says comes first: free costs 0, and per request has the fee of its row or no known
amount.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import mul
from typing import Final, Protocol

import msgspec

from proxy.core.usage import ChargeClass

# 72 million units: what a ledger column can hold. Beyond it a count or a rate is wrong, and the
# amount unknown.
AMOUNT_NANO_MAX: Final = 2**56
PARTS: Final = (
    "input",
    "cached",
    "cache_write",
    "cache_write_long",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
)

_INPUTS: Final = PARTS.index("output")  # so many of them are parts of the input
_NANO_PLACES: Final = 9
_PER_TOKENS_PLACES: Final = 6  # rates are per million tokens
# The part whose rate another one has where the row gives it none of its own.
_PARENT: Final = {
    "cached": "input",
    "cache_write": "input",
    "cache_write_long": "cache_write",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}


class HasCounts(Protocol):
    """Anything with a record's token counts; None is "not known"."""

    @property
    def input_tokens(self) -> int | None: ...
    @property
    def cached_tokens(self) -> int | None: ...
    @property
    def cache_write_tokens(self) -> int | None: ...
    @property
    def cache_write_long_tokens(self) -> int | None: ...
    @property
    def audio_input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...
    @property
    def audio_output_tokens(self) -> int | None: ...
    @property
    def searches(self) -> int | None: ...


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Token counts to price: what is charged, and the parts of it that are known."""

    input_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    audio_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    audio_output_tokens: int | None
    cache_write_long_tokens: int | None = None
    searches: int | None = None


class Priced(msgspec.Struct, frozen=True, gc=False):
    """The amounts of one record and what they come from; None is "not known".

    `cost` is what the vendor should bill and `charge` what the team pays, both in `currency`;
    `cost_original` is in the row's own currency. `fx_rate` is None where no other currency is
    involved. Without a row that applies nothing is known. A row whose amount cannot be told (no
    exchange rate yet, images not counted) is named beside the unknown amount.
    """

    cost_nano: int | None = None
    charge_nano: int | None = None
    currency: str | None = None
    price_version: str | None = None
    price_model: str | None = None
    price_currency: str | None = None
    cost_original_nano: int | None = None
    fx_rate: str | None = None


UNPRICED: Final = Priced()


class Pricing(Protocol):
    """Prices records. `images` are those in the request, None if they were not counted."""

    def price(
        self,
        counts: HasCounts,
        *,
        upstream: str,
        team: str | None,
        model_requested: str | None,
        model_served: str | None,
        service_tier: str | None,
        started_at_ms: int,
        status: int | None,
        images: int | None,
        charge_class: ChargeClass | None = None,
    ) -> Priced: ...


class NoPrices:
    """Prices nothing."""

    def price(
        self,
        counts: HasCounts,
        *,
        upstream: str,
        team: str | None,
        model_requested: str | None,
        model_served: str | None,
        service_tier: str | None,
        started_at_ms: int,
        status: int | None,
        images: int | None,
        charge_class: ChargeClass | None = None,
    ) -> Priced:
        return UNPRICED


class Rates(msgspec.Struct, frozen=True, gc=False):
    """A row's rates after discount, as integers: nano-units times `scale`.

    For a token (in the order of PARTS), an image, a search, a request. None: the row gives no rate
    for such tokens, so that an amount with any of them is unknown. `all_known`: the same rates, if
    none of them is None.
    """

    scale: int
    tokens: tuple[int | None, ...]
    image: int
    search: int
    request: int
    all_known: tuple[int, ...] | None


class Factor(msgspec.Struct, frozen=True, gc=False):
    """A decimal to multiply an amount with: an integer, and the power of ten to divide by."""

    number: int
    scale: int


ONE: Final = Factor(1, 1)


def parts(counts: HasCounts) -> tuple[int, ...] | None:
    """The tokens by how they are priced, in the order of PARTS; None if either count is unknown.

    They add up to input + output.
    """
    rest = counts.input_tokens
    output = counts.output_tokens
    if rest is None or output is None:
        return None
    # A part that is not stated is priced as plain tokens.
    cached = counts.cached_tokens
    cached = 0 if cached is None else cached if cached < rest else rest
    rest -= cached
    written = counts.cache_write_tokens
    written = 0 if written is None else written if written < rest else rest
    rest -= written
    kept_long = counts.cache_write_long_tokens
    kept_long = 0 if kept_long is None else kept_long if kept_long < written else written
    heard = counts.audio_input_tokens
    heard = 0 if heard is None else heard if heard < rest else rest
    reasoning = counts.reasoning_tokens
    reasoning = 0 if reasoning is None else reasoning if reasoning < output else output
    output -= reasoning
    spoken = counts.audio_output_tokens
    spoken = 0 if spoken is None else spoken if spoken < output else output
    return (
        rest - heard,
        cached,
        written - kept_long,
        kept_long,
        heard,
        output - spoken,
        reasoning,
        spoken,
    )


def value(
    rates: Rates,
    tokens: tuple[int, ...] | None,
    *,
    images: int | None,
    answered: bool,
    searches: int | None = None,
) -> int | None:
    """The exact amount in nano-units times `rates.scale`; None if it cannot be told.

    `answered`: with a 2xx status. Searches that are not stated were not made.
    """
    if tokens is None:
        return None
    total = 0
    if answered:
        total = rates.request
        if searches is not None:
            total += rates.search * searches
        if rates.image:
            if images is None:
                return None
            total += rates.image * images
    if rates.all_known is not None:
        exact: int = sum(map(mul, tokens, rates.all_known), total)
        return exact
    for count, rate in zip(tokens, rates.tokens, strict=True):
        if count:
            if rate is None:
                return None
            total += count * rate
    return total


def rounded(number: int, scale: int) -> int | None:
    """`number / scale` to the nearest integer, halves up; None beyond AMOUNT_NANO_MAX.

    Both are at least 0.
    """
    nano = (2 * number + scale) // (2 * scale)
    return nano if nano <= AMOUNT_NANO_MAX else None


def amounts(
    rates: Rates,
    counts: HasCounts,
    fx: Factor | None,
    markup: Factor,
    *,
    images: int | None,
    answered: bool,
) -> tuple[int | None, int | None, int | None]:
    """(cost_original, cost, charge) in nano-units, each rounded from the exact value.

    Without an exchange rate the last two are not known.
    """
    exact = value(rates, parts(counts), images=images, answered=answered, searches=counts.searches)
    if exact is None:
        return None, None, None
    scale = rates.scale
    original = rounded(exact, scale)
    if fx is None:
        return original, None, None
    if fx is ONE:
        cost = original
    else:
        exact *= fx.number
        scale *= fx.scale
        cost = rounded(exact, scale)
    return (
        original,
        cost,
        cost if markup is ONE else rounded(exact * markup.number, scale * markup.scale),
    )


def compile_rates(decimals: dict[str, str], discount: str) -> Rates:
    """A row's rates, after `discount` (a share).

    `decimals` are named as PARTS, `image`, `search` and `request`. A part without one has its
    parent's rate, or none.
    """
    less, less_places = scaled(discount)
    kept = 10**less_places - less
    numbers = {name: scaled(text) for name, text in decimals.items()}
    # As many places as the finest rate has, at least those that "per million tokens in nano-units"
    # gains.
    places = max([_NANO_PLACES - _PER_TOKENS_PLACES, *(own for _, own in numbers.values())])

    def rate(name: str, unit_places: int) -> int | None:
        found = numbers.get(name)
        if found is None:
            parent = _PARENT.get(name)
            return None if parent is None else rate(parent, unit_places)
        number, own = found
        return int(number * 10 ** (places - own + _NANO_PLACES - unit_places) * kept)

    image, search, request = rate("image", 0), rate("search", 0), rate("request", 0)
    tokens = tuple(rate(name, _PER_TOKENS_PLACES) for name in PARTS)
    known = tuple(_known(tokens))
    return Rates(
        scale=10 ** (places + less_places),
        tokens=tokens,
        image=0 if image is None else image,
        search=0 if search is None else search,
        request=0 if request is None else request,
        all_known=known if len(known) == len(tokens) else None,
    )


def factor(decimal: str) -> Factor:
    """An exchange rate as a factor."""
    number, places = scaled(decimal)
    return Factor(number, 10**places)


def raised(share: str) -> Factor:
    """`1 + share`: what a markup multiplies by."""
    number, places = scaled(share)
    return Factor(10**places + number, 10**places)


def scaled(decimal: str) -> tuple[int, int]:
    """("28", 2) of "0.28": digits and decimal places, without zeros at the end."""
    whole, _, fraction = decimal.partition(".")
    fraction = fraction.rstrip("0")
    return int(whole + fraction), len(fraction)


def plain(decimal: str) -> str:
    """The one way to write a decimal: "0.28" of "00.280"."""
    number, places = scaled(decimal)
    digits = str(number).rjust(places + 1, "0")
    return digits if places == 0 else f"{digits[:-places]}.{digits[-places:]}"


def parent_of(part: str) -> str | None:
    """The part whose rate this one has where the row gives it none of its own."""
    return _PARENT.get(part)


def dearest(rates: Rates, input_tokens: int, output_tokens: int, images: int | None) -> int | None:
    """The most that so many tokens can cost, whichever parts they are.

    In nano-units times `rates.scale`; None if it cannot be told.
    """
    inputs, outputs = rates.tokens[:_INPUTS], rates.tokens[_INPUTS:]
    fees = value(rates, (0,) * len(PARTS), images=images, answered=True)
    if fees is None:
        return None
    total = fees
    for count, side in ((input_tokens, inputs), (output_tokens, outputs)):
        if count:
            known = list(_known(side))
            if len(known) < len(side):
                return None
            total += count * max(known)
    return total


def _known(side: tuple[int | None, ...]) -> Iterator[int]:
    return (rate for rate in side if rate is not None)
