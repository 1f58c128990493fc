"""The price of one set of names where nothing but the counts makes a difference to it.

No date, hour, size of the input or number of images does. Most prices are so: their row is found
and its rates are compiled once, and an amount is then one sum.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.pricing.amounts import (
    AMOUNT_NANO_MAX,
    ONE,
    PARTS,
    Factor,
    HasCounts,
    Priced,
    Rates,
    amounts,
)

_INPUT: Final = PARTS.index("input")
_OUTPUT: Final = PARTS.index("output")


class FixedPrice(msgspec.Struct, frozen=True, gc=False):
    """A row's rates after its discount, with its rate of exchange and the team's markup.

    `names` are those of a record that is priced by it, without amounts.
    """

    rates: Rates
    fx: Factor
    markup: Factor
    names: Priced
    currency: str
    input: int  # rates of plain tokens, as in `rates`
    output: int
    doubled: int  # twice the scale, to round with
    one_amount: bool  # what is charged is what the row says: no exchange and no markup

    @classmethod
    def of(
        cls, rates: Rates, fx: Factor, markup: Factor, names: Priced, currency: str
    ) -> FixedPrice | None:
        """None: not every token has a rate, or images have one, which are not counted here."""
        if rates.all_known is None or rates.image:
            return None
        return cls(
            rates,
            fx,
            markup,
            names,
            currency,
            rates.all_known[_INPUT],
            rates.all_known[_OUTPUT],
            2 * rates.scale,
            fx is ONE and markup is ONE,
        )

    def price(self, counts: HasCounts, *, answered: bool) -> Priced:
        """The amounts of one record.

        Where all its tokens are plain they are made without the steps of `amounts`.
        """
        inputs, outputs, names = counts.input_tokens, counts.output_tokens, self.names
        if (
            self.one_amount
            and inputs is not None
            and outputs is not None
            and not (
                counts.cached_tokens
                or counts.reasoning_tokens
                or counts.cache_write_tokens
                or counts.audio_input_tokens
                or counts.audio_output_tokens
                or counts.searches
            )
        ):
            exact = inputs * self.input + outputs * self.output
            if answered:
                exact += self.rates.request
            nano = (2 * exact + self.rates.scale) // self.doubled
            if nano <= AMOUNT_NANO_MAX:
                return Priced(
                    nano,
                    nano,
                    self.currency,
                    names.price_version,
                    names.price_model,
                    names.price_currency,
                    nano,
                )
        original, cost, charge = amounts(
            self.rates, counts, self.fx, self.markup, images=None, answered=answered
        )
        return Priced(
            cost,
            charge,
            None if cost is None and charge is None else self.currency,
            names.price_version,
            names.price_model,
            names.price_currency,
            original,
            names.fx_rate,
        )
