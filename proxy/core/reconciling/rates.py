"""Exchange rates that a person states for a bill, as on its invoice or of its bank. Exact."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import msgspec

from proxy.core.reconciling.figures import converted
from proxy.core.reconciling.lines import VendorLine

_RATE: Final = re.compile(r"(?P<code>[A-Za-z]{3})=(?P<rate>[0-9]{1,9}(?:\.[0-9]{1,18})?)")


class StatedRates(msgspec.Struct, frozen=True):
    """What a unit of other currencies is in the currency `into`."""

    into: str
    rates: Mapping[str, Fraction]

    def line(self, line: VendorLine) -> VendorLine:
        """The line in `into`, if its currency has a rate."""
        rate = self.rates.get(line.currency or "")
        if rate is None:
            return line
        return msgspec.structs.replace(
            line,
            amount_nano=None if line.amount_nano is None else converted(line.amount_nano, rate),
            unit_nano=max(1, converted(line.unit_nano, rate)) if line.unit_nano else 0,
            currency=self.into,
        )


def rate_of(text: str) -> tuple[str, Fraction]:
    """(currency, rate) of `CNY=0.14`. Raises ValueError with the end of a sentence."""
    match = _RATE.fullmatch(text.strip())
    if match is None or not (rate := Fraction(match["rate"])):
        raise ValueError("is no rate: write CNY=0.14 where a CNY is 0.14 of the ledger's currency")
    return match["code"].upper(), rate
