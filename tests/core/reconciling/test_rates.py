"""Exchange rates that are stated for a bill."""

from __future__ import annotations

from fractions import Fraction

import pytest

from proxy.core.reconciling.lines import VendorLine
from proxy.core.reconciling.moments import Width
from proxy.core.reconciling.rates import StatedRates, rate_of


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("CNY=0.14", ("CNY", Fraction(7, 50))),
        (" jpy=0.00641 ", ("JPY", Fraction(641, 100_000))),
        ("EUR=1", ("EUR", Fraction(1))),
    ],
)
def test_a_rate_is_read_exactly(text: str, rate: tuple[str, Fraction]) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize(
    "text", ["", "CNY", "0.14", "CNY=0", "CNY=-1", "CNY=1e5", "CNY=1,5", "CNYX=1"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no rate: write CNY=0\.14"):
        rate_of(text)


def test_a_line_is_converted_once_and_rounded_half_away_from_zero() -> None:
    rates = StatedRates("USD", {"CNY": Fraction("0.1387")})

    def amounts(nano: int | None, currency: str, unit: int = 0) -> tuple[object, ...]:
        line = VendorLine(1, 0, Width.DAY, amount_nano=nano, unit_nano=unit, currency=currency)
        found = rates.line(line)
        return found.amount_nano, found.unit_nano, found.currency

    assert amounts(10**9, "CNY", 10**7) == (138_700_000, 1_387_000, "USD")
    assert amounts(5_000, "CNY", 1) == (694, 1, "USD")  # 693.5
    assert amounts(-5_000, "CNY", 1) == (-694, 1, "USD")
    assert amounts(None, "CNY") == (None, 0, "USD")
    assert amounts(7, "EUR", 1) == (7, 1, "EUR")
