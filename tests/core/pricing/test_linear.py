"""A price as one sum of products says the same as the amounts that are booked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pricing.amounts import (
    ONE,
    PARTS,
    Counts,
    Factor,
    amounts,
    compile_rates,
    factor,
    raised,
)
from proxy.core.pricing.linear import COUNTS, NANO_MAX, SEARCHES_MAX, ZERO, linear
from tests.support.effort import examples


def decimals(most: int, places: int) -> st.SearchStrategy[str]:
    """Decimals from 0 up to `most`, written as the config has them."""
    return st.builds(
        lambda whole, part, n: f"{whole}.{part:0{places}d}"[: len(str(whole)) + 1 + n].rstrip("."),
        st.integers(0, most),
        st.integers(0, 10**places - 1),
        st.integers(0, places),
    )


RATES = st.fixed_dictionaries(
    {"input": decimals(99, 4), "output": decimals(99, 4)},
    optional={
        **{part: decimals(99, 4) for part in PARTS if part not in ("input", "output")},
        "search": decimals(1, 4),
        "request": decimals(0, 4),
    },
)


@st.composite
def fitting(draw: st.DrawFn, most: int, searches_max: int) -> dict[str, int]:
    """Counts of which no part is larger than the rest of its whole."""
    rest = inputs = draw(st.integers(0, most))
    outputs = draw(st.integers(0, most))
    counts = {"input_tokens": inputs, "output_tokens": outputs}
    for name in ("cached_tokens", "cache_write_tokens", "audio_input_tokens"):
        counts[name] = draw(st.integers(0, rest))
        rest -= counts[name]
    counts["cache_write_long_tokens"] = draw(st.integers(0, counts["cache_write_tokens"]))
    counts["reasoning_tokens"] = draw(st.integers(0, outputs))
    counts["audio_output_tokens"] = draw(st.integers(0, outputs - counts["reasoning_tokens"]))
    counts["searches"] = draw(st.integers(0, searches_max))
    return counts


@settings(max_examples=examples(900), deadline=None)
@given(RATES, decimals(0, 3), decimals(9, 4).filter(lambda d: float(d) > 0), decimals(2, 3),
       st.booleans(), st.data())  # fmt: skip  # one argument a subject
def test_a_sum_of_products_is_the_amount_to_the_nano_unit(
    rates: dict[str, str], discount: str, fx: str, markup: str, plain: bool, data: st.DataObject
) -> None:
    """Up to the most tokens that it allows, at which every step fits a database's integers."""
    row = compile_rates(rates, discount)
    by = (ONE, ONE) if plain else (factor(fx), raised(markup))
    found = linear(row, *by)
    assert found is not None
    most = data.draw(st.sampled_from([9, 10**6, found.tokens_max]))
    counts = data.draw(fitting(min(most, found.tokens_max), found.searches_max))
    named = tuple(counts[name] for name in COUNTS)
    expected = amounts(row, Counts(**counts), *by, images=None, answered=True)[1:]
    assert found.amounts(named) == expected
    assert max(expected) <= NANO_MAX
    products = [abs(n * rate) for n, rate in zip(named, found.rates, strict=True)]
    value = found.base + sum(products)
    assert value < 2**63
    if found.markup is not None:
        assert found.divisor * found.markup.times + found.markup.base < 2**63
        assert max(expected) * found.markup.times < 2**63


def test_halves_are_rounded_up_as_they_are_booked() -> None:
    """0.5, 1.5 and 2.5 nano-units, and a charge of 0.55, 1.65 and 2.75."""
    found = linear(compile_rates({"input": "0.0005", "output": "0"}, "0"), ONE, raised("0.1"))
    assert found is not None
    rest = (0,) * (len(COUNTS) - 1)
    assert [found.amounts((n, *rest)) for n in (0, 1, 3, 5)] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_what_has_no_price_is_not_taken_for_zero() -> None:
    no_output = linear(compile_rates({"input": "0.1"}, "0"), ONE)
    assert no_output is not None and no_output.output_max == 0 < no_output.tokens_max
    assert linear(compile_rates({"output": "0.1"}, "0"), ONE) is None
    # What is spoken has a price, and what is written has none.
    assert linear(compile_rates({"input": "1", "audio_output": "2"}, "0"), ONE) is not None
    assert linear(compile_rates({"input": "1", "output": "1", "image": "1"}, "0"), ONE) is None


def test_numbers_that_fit_no_column_make_no_sum() -> None:
    dear = linear(compile_rates({"input": "0.001", "output": "1", "search": "9999"}, "0.1"), ONE)
    assert dear is not None and 0 < dear.searches_max < SEARCHES_MAX == ZERO.searches_max
    huge = compile_rates({"input": "9" * 18, "output": "1"}, "0.123456789")
    assert linear(huge, Factor(123_456_789, 10**9), raised("0.987654321")) is None


def test_an_answer_without_a_fee_costs_the_same_whatever_its_status() -> None:
    for name, fees in (("cached", False), ("request", True), ("search", True)):
        found = linear(compile_rates({"input": "1", "output": "1", name: "1"}, "0"), ONE)
        assert found is not None and found.with_fees is fees
    assert ZERO.amounts((7,) * len(COUNTS)) == (0, 0)
