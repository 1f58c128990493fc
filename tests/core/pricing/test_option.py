"""A row that is ready to price with: whether it applies, by which rates, at which time."""

from __future__ import annotations

from proxy.core.pricing.amounts import ONE, factor
from proxy.core.pricing.option import MODEL_CHARS_MAX, Option, applying, compiled, step_at
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import DatedRate

FLAT = (DatedRate("0"),)
DATED = (DatedRate("0.10", 2_000), DatedRate("0.05", 1_000))


def test_the_first_row_that_applies_decides_even_without_rates() -> None:
    long = Option(
        PriceRow(model="m", currency="USD", input="2", above_input_tokens=100), FLAT, None
    )
    unknown = Option(PriceRow(model="m", currency="USD"), FLAT, None)
    flat = Option(PriceRow(model="*", currency="USD", input="1"), FLAT, None)
    assert applying((long, flat), 101, 0) is long
    assert applying((long, flat), 100, 0) is flat
    assert applying((long, unknown, flat), 100, 0) is None
    assert applying((), 0, 0) is None


def test_a_dated_decimal_holds_from_its_time_on() -> None:
    steps = compiled(DATED, factor)
    assert [step_at(steps, at_ms) for at_ms in (999, 1_000, 1_999, 2_000)] == [
        None,
        (factor("0.05"), "0.05"),
        (factor("0.05"), "0.05"),
        (factor("0.10"), "0.10"),
    ]


def test_a_row_has_the_rates_and_the_exchange_of_a_time() -> None:
    option = Option(
        PriceRow(model="m", currency="USD", input="2"), (*DATED, *FLAT), compiled(DATED, factor)
    )
    assert [option.rates(at_ms)[1] for at_ms in (0, 1_000, 2_000)] == ["0", "0.05", "0.10"]
    assert option.exchange(999) == (None, None), "there is no rate yet"
    assert option.exchange(1_500) == (factor("0.05"), "0.05")
    own = Option(PriceRow(model="m" * 300, currency="USD", input="2"), FLAT, None)
    assert own.exchange(0) == (ONE, None)
    assert len(own.model) == MODEL_CHARS_MAX, "a record's size is bounded"
