"""A price that nothing but the counts changes is the price that the whole book works out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pricing.amounts import AMOUNT_NANO_MAX, Counts
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.option import Option
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.core.usage import ChargeClass

LATER_MS = 1_800_000_000_000
RATES = st.none() | st.sampled_from(["0", "1", "0.15", "2.5", "0.000001", "99999999999"])
SHARES = st.sampled_from(["0.1", "0.055", "0"])
DATED = st.just(()) | SHARES.map(lambda share: (DatedRate(share),))
TWICE = SHARES.map(lambda share: (DatedRate(share, LATER_MS), DatedRate("0.2")))
LATE = SHARES.map(lambda share: (DatedRate(share, LATER_MS),))
ROWS = st.builds(
    PriceRow,
    model=st.sampled_from(["m", "m*"]),
    currency=st.sampled_from(["USD", "EUR"]),
    input=RATES,
    cached=RATES,
    output=RATES,
    reasoning=RATES,
    audio_input=RATES,
    image=st.sampled_from([None, "0", "0.01"]),
    search=RATES,
    request=RATES,
    service_tier=st.sampled_from([None, None, "flex"]),
    above_input_tokens=st.sampled_from([None, None, 100]),
    from_ms=st.sampled_from([None, None, LATER_MS]),
)
TERMS = st.builds(
    Terms,
    currency=st.just("USD"),
    timezone=st.just("UTC"),
    rows=st.lists(ROWS, min_size=1, max_size=3).map(tuple),
    fx=st.fixed_dictionaries({}, optional={"EUR": DATED | TWICE | LATE}),
    discounts=st.fixed_dictionaries({}, optional={"up": DATED | TWICE | LATE}),
    markups=st.fixed_dictionaries({}, optional={"team": DATED | TWICE | LATE}),
)
NUMBERS = st.none() | st.integers(0, 300) | st.sampled_from([AMOUNT_NANO_MAX, 2**53])
COUNTS = st.builds(Counts, *[NUMBERS] * 7, cache_write_long_tokens=NUMBERS, searches=NUMBERS)
ASKED = st.fixed_dictionaries(
    {
        "upstream": st.just("up"),
        "team": st.sampled_from([None, "team", "other"]),
        "model_requested": st.sampled_from(["m", "m-1"]),
        "model_served": st.sampled_from([None, "m", "m-2"]),
        "service_tier": st.sampled_from([None, "flex", "other"]),
        "started_at_ms": st.sampled_from([LATER_MS - 1, LATER_MS]),
        "status": st.sampled_from([None, 200, 500]),
        "images": st.sampled_from([None, 0, 3]),
        "charge_class": st.sampled_from([None, None, None, *ChargeClass]),
    }
)


@given(TERMS, ASKED, st.lists(st.tuples(COUNTS, st.sampled_from([0, 1])), min_size=2, max_size=6))
def test_what_is_remembered_changes_no_amount(
    terms: Terms, asked: dict[str, object], records: list[tuple[Counts, int]]
) -> None:
    book = PriceBook(terms)
    for counts, late in records:
        when = {**asked, "started_at_ms": LATER_MS - 1 + late}
        fresh = PriceBook(terms)  # knows no names yet, so it goes through all rows
        assert book.price(counts, **when) == fresh.price(counts, **when)


def test_a_plain_price_is_remembered() -> None:
    row = PriceRow(model="m", currency="USD", input="0.15", output="0.6")
    assert Option(row, [DatedRate("0.1")], None).undated
    assert not Option(row, [DatedRate("0.1", LATER_MS), DatedRate("0")], None).undated
    assert not Option(row, [DatedRate("0")], ()).undated, "no rate of exchange yet"
