"""What holds for a request holds for all with its names, within the bounds that come with it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pricing.amounts import Counts
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.linear import COUNTS
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.tariff import (
    END_MS,
    FIRST_MS,
    NO_TOKENS,
    Bounds,
    Names,
    NotLinear,
    price_of,
)
from proxy.core.pricing.terms import DatedRate, Terms
from tests.support.effort import examples

DAY_MS = 86_400_000
NAMES = Names("up", "research", "m", "m", None)
TERMS = Terms(
    currency="USD",
    timezone="UTC",
    rows=(
        PriceRow(model="m", currency="CNY", input="2", output="3"),
        PriceRow(model="m", currency="USD", input="5", output="6", from_ms=3 * DAY_MS),
        PriceRow(model="m", currency="USD", input="7", output="8", above_input_tokens=200),
        PriceRow(
            model="m",
            currency="USD",
            input="1",
            output="1",
            above_input_tokens=1_000,
            hours_utc=(1_410, 90),
        ),
    ),
    fx={"CNY": (DatedRate("0.15", 2 * DAY_MS), DatedRate("0.14", DAY_MS))},
    discounts={"up": (DatedRate("0.1", 5 * DAY_MS), DatedRate("0.05"))},
    markups={"research": (DatedRate("0.25", 4 * DAY_MS),)},
)
BOOK = PriceBook(TERMS)
ONES = dict.fromkeys(COUNTS, 0)


@settings(max_examples=examples(600), deadline=None)
@given(st.integers(0, 7 * DAY_MS), st.sampled_from([0, 200, 201, 1_000, 1_001]), st.data())
def test_within_the_bounds_it_is_the_price_of_each_request(
    at_ms: int, tokens: int, data: st.DataObject
) -> None:
    """Against the book itself, for another request and at both ends of the bounds."""
    found, bounds = price_of(BOOK, NAMES, at_ms, tokens)
    ends = (bounds.from_ms, bounds.to_ms - 1)
    within = tuple(min(max(ms, 0), 8 * DAY_MS) for ms in ends)
    other_ms = data.draw(st.sampled_from(within) | st.integers(*within))
    longest = min(bounds.upto, 5_000)
    other = data.draw(st.sampled_from([bounds.above + 1, longest]) | st.integers(
        bounds.above + 1, longest))  # fmt: skip  # one choice of two kinds
    counts = Counts(
        **{name: None for name in Counts.__struct_fields__ if name not in ("input_tokens", "output_tokens")},
        input_tokens=other,
        output_tokens=77,
    )  # fmt: skip  # what is not stated
    priced = BOOK.price(counts, started_at_ms=other_ms, status=200, **msgspec.structs.asdict(NAMES))
    known = None if found is None else found.amounts((other, 77, *(0,) * (len(COUNTS) - 2)))
    assert (priced.cost_nano, priced.charge_nano) == (known or (None, None))
    assert price_of(BOOK, NAMES, other_ms, other) == (found, bounds)


def test_without_dates_and_sizes_there_are_no_bounds() -> None:
    flat = PriceBook(
        Terms(
            currency="USD",
            timezone="UTC",
            rows=(PriceRow(model="m", currency="USD", input="1", output="2"),),
            fx={},
            discounts={},
            markups={},
        )
    )
    assert price_of(flat, NAMES, 7, 7)[1] == Bounds(FIRST_MS, END_MS, NO_TOKENS, END_MS)
    unknown = msgspec.structs.replace(NAMES, model_requested="x", model_served="x")
    assert price_of(flat, unknown, 7, 7) == (None, Bounds())


def test_where_images_have_a_price_no_sum_is_made() -> None:
    rows = (
        PriceRow(model="m", upstream="up", currency="USD", input="1", output="2", image="3"),
        PriceRow(model="n", currency="USD", input="1", output="2"),
    )
    book = PriceBook(msgspec.structs.replace(TERMS, rows=rows))
    with pytest.raises(NotLinear):
        price_of(book, NAMES, 0, 0)
    unknown = msgspec.structs.replace(NAMES, upstream="other")
    assert price_of(book, unknown, 0, 0) == (None, Bounds(to_ms=4 * DAY_MS))
    # Another model of that upstream, whose images cost nothing.
    other = msgspec.structs.replace(NAMES, model_requested="n", model_served="n")
    assert price_of(book, other, 0, 0)[0] is not None
    huge = (PriceRow(model="m", currency="USD", input="9" * 18 + ".123", output="1"),)
    with pytest.raises(NotLinear):
        price_of(PriceBook(msgspec.structs.replace(TERMS, rows=huge)), NAMES, 0, 0)


def test_two_bounds_are_where_both_hold() -> None:
    one, other = Bounds(from_ms=1, to_ms=9, above=5), Bounds(from_ms=3, to_ms=20, upto=7)
    assert one.within(other) == other.within(one) == Bounds(3, 9, 5, 7)
