"""Numbers as files write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.reconciling.figures import figure, sign_of

READ = [
    ("1,234.56", "1234.56"), ("1.234,56", "1234.56"), ("1234,56", "1234.56"), ("1,234", "1234"), ("0,125", "0.125"),
    ("1e-05", "0.00001"), ("3.625e-9", "0.000000003625"), ("1.5E+3", "1500"), ("0E-6176", "0"), ("-0.05", "-0.05"), ("−0.05", "-0.05"),
    ("(12.50)", "-12.5"), ("12.50-", "-12.5"), ("¥1,000.00", "1000"), ("￥0.5", "0.5"), ("US$3", "3"), ("$ -3.2", "-3.2"), ("-$3.2", "-3.2"), ("5 USD", "5"), ("3.20元", "3.2"),
    ("1 234 567", "1234567"), ("1\u00a0234,5", "1234.5"), ("1\u202f234", "1234"), ("1'234.5", "1234.5"), ("1.234.567", "1234567"),
    ("0.003835980000000000000000000000", "0.00383598"), ('="12.5"', "12.5"), ("'12.5", "12.5"), ("１２．５", "12.5"), (".5", "0.5"), ("+7", "7"),
    ("₹1,23,456.78", "123456.78"), ("12,34,567", "1234567"), ("R$ 5,00", "5"), ("1.234,56 €", "1234.56"), ("EUR 5.5", "5.5"), ("5,00 kr", "5"), ("HK$5", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ)
def test_every_way_to_write_a_number_is_read_exactly(text: str, value: str) -> None:
    found = figure(text)
    assert Fraction(found.number, 10**found.places) == Fraction(value)


@pytest.mark.parametrize(("text", "value"), [("1,234", "1.234"), ("1.234", "1234"), ("0,5", "0.5")])
def test_where_semicolons_separate_columns_a_comma_is_the_decimal_mark(
    text: str, value: str
) -> None:
    found = figure(text, comma=True)
    assert Fraction(found.number, 10**found.places) == Fraction(value)


@pytest.mark.parametrize(
    "text", ["", "-", "abc", "12,34,56", "12 mio", "5 cts", "$", "1.2.3,4", "1e999999999", "9" * 100, "nan", "inf", "--5", "0x10", "1_0",
             "(5.00", "5.00)", "(5.00 USD", "((5))", "5²", "12.50¹", "1₂"]
)  # fmt: skip
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number|separators|beyond|too long"):
        figure(text)


@given(st.integers(-(10**25), 10**25), st.integers(0, 20))
def test_nano_units_are_rounded_once_and_halves_go_up(number: int, places: int) -> None:
    digits = str(abs(number)).rjust(places + 1, "0")
    text = f"{'-' if number < 0 else ''}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}"
    value = Fraction(number, 10**places) * 10**9
    found = figure(text).nano()
    assert abs(found - value) <= Fraction(1, 2)
    assert (found - value != Fraction(-1, 2)) if number > 0 else (found - value != Fraction(1, 2))


def test_parts_of_a_unit_are_divided() -> None:
    assert figure("123.45").nano(100) == 1_234_500_000
    assert figure("1").nano(500_000) == 2_000
    with pytest.raises(ValueError, match="no whole number"):
        figure("1.5").whole()
    assert figure("1.50e2").whole() == 150


@pytest.mark.parametrize(
    ("text", "code"),
    [("5", None), ("$5", None), ("¥5", None), ("5 €", "EUR"), ("₹5", "INR"), ("eur 5", "EUR"), ("5.00 RMB", "CNY"), ("5元", "CNY"), ("1e5", None)],
)  # fmt: skip
def test_the_currency_beside_a_number_is_known_unless_several_have_its_sign(
    text: str, code: str | None
) -> None:
    assert sign_of(text) == code
