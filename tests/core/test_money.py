"""Nano-units as decimals."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import NANO, decimal


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (1_500_000_000, "1.50"),
        (1_234_567 * NANO, "1234567.00"),
        (-1_234_567 * NANO - 120_000_000, "-1234567.12"),
    ],
)
def test_an_amount_has_the_digits_that_it_needs(nano: int, shown: str) -> None:
    assert decimal(nano) == shown


@given(st.integers(-(2**80), 2**80))
def test_no_digit_is_lost(nano: int) -> None:
    assert int(Decimal(decimal(nano)).scaleb(9)) == nano
    assert decimal(nano, grouped=True).replace(",", "") == decimal(nano)


def test_thousands_are_grouped_where_people_read() -> None:
    assert decimal(1_234_567 * NANO + 1, grouped=True) == "1,234,567.000000001"
