"""Prices as they might be: other rows, another model, another tier, another discount.

A scenario changes the terms of a record and leaves all else as it was: its exchange rate, its
markup, its tokens. Where it changes nothing, the amounts are those that were booked.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.model_names import matches_caseless
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import Share, Terms


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What would be otherwise.

    - `rows`: these price rows in place of all of the record's own; a model that they do not price
      has no known cost
    - `models`: pairs of a glob and the model that would have been asked for, and have answered, in
      place of what matches; the first pair that matches counts
    - `tier`: the service tier of all answers; "" is the usual one
    - `discount`: a share off the prices of all upstreams
    """

    rows: tuple[PriceRow, ...] | None = None
    models: tuple[tuple[str, str], ...] = ()
    tier: str | None = None
    discount: str | None = None

    def terms(self, own: Terms, upstreams: Sequence[str]) -> Terms:
        """A record's terms under the scenario; `upstreams` are those that have a discount then."""
        discounts: dict[str, Share] = own.discounts
        if self.discount is not None:
            discounts = {} if self.discount == "0" else dict.fromkeys(upstreams, self.discount)
        return msgspec.structs.replace(
            own,
            rows=own.rows if self.rows is None else self.rows,
            discounts=discounts,
            # The new name is what is priced, whatever the old one was an alias of.
            aliases={} if self.models else own.aliases,
        )

    def names(self, requested: str | None, served: str | None) -> tuple[str | None, str | None]:
        """The models that take the place of what was asked for and of what answered.

        A request that would have gone to another model would have been answered by it.
        """
        for old, new in self.models:
            if requested is not None and matches_caseless(old, requested):
                return new, new
        for old, new in self.models:
            if served is not None and matches_caseless(old, served):
                return requested, new
        return requested, served
