"""What prices are made of: discounts, markups and rates of exchange hold from their day on."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.price_terms import price_book_of, terms_of
from proxy.config.settings import (
    DatedShare,
    FxRate,
    Price,
    Settings,
    TeamSettings,
    UpstreamSettings,
)
from proxy.core.pricing.amounts import Counts
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.terms import DatedRate, shortest, steps
from tests.support.effort import examples

ZONE = "America/Havana"  # where clocks change at midnight
FIRST = datetime(2026, 10, 28)
UPSTREAM = UpstreamSettings(base_url="http://h")


def config(**changes: object) -> Settings:
    upstream = UpstreamSettings(base_url="http://h", discount=changes.pop("discount", "0"))  # type: ignore[arg-type]
    team = TeamSettings(markup=changes.pop("markup", "0"))  # type: ignore[arg-type]
    base = {
        "timezone": ZONE,
        "upstreams": {"up": upstream},
        "teams": {"t": team},
        "prices": (Price(model="m", input="1", output="2"),),
    }
    return Settings(**base | changes)  # type: ignore[arg-type]


def test_a_share_that_always_holds_is_written_as_before_and_one_of_nothing_not_at_all() -> None:
    terms = terms_of(config(discount="0.10", markup=(DatedShare(rate="0.050"),)))
    assert (terms.discounts, terms.markups) == ({"up": "0.1"}, {"t": "0.05"})
    assert (
        terms_of(config(discount="0.0", markup=())).markups
        == terms_of(config(markup=(DatedShare(rate="0"),))).discounts
        == {}
    )


def test_a_share_dropped_to_nothing_from_a_day_on_is_kept() -> None:
    day_ms = int(datetime(2026, 11, 1, tzinfo=ZoneInfo(ZONE)).timestamp()) * 1000
    terms = terms_of(
        config(markup=(DatedShare(rate="0.05"), DatedShare(rate="0", from_="2026-11-01")))
    )
    assert terms.markups == {"t": (DatedRate("0", day_ms), DatedRate("0.05"))}
    assert shortest(steps("0.05")) == "0.05" and shortest(()) is None and steps(None) == ()


@pytest.mark.parametrize("key", ["discounts", "markups"])
def test_terms_of_an_earlier_version_are_read(key: str) -> None:
    """Ledgers keep them: shares were single decimals then."""
    book = price_book_of(config(discount="0.1", markup="0.05"))
    stored = msgspec.json.decode(book.terms())
    assert isinstance(next(iter(stored[key].values())), str)
    assert PriceBook.from_terms(book.terms()).version == book.version


_SHARE = st.decimals(0, 1, places=3).map(str)
_DAY = st.integers(0, 8).map(lambda n: (FIRST + timedelta(days=n)).date().isoformat())


def dated(value: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str | None, str]]:
    """Decimals by the day from which they hold; None: always."""
    return st.dictionaries(st.none() | _DAY, value, max_size=4)


def holding(by_day: dict[str | None, str], at: datetime) -> Fraction | None:
    """The one that holds: looked up by the local calendar, as a person would."""
    days = [day for day in by_day if day is not None and day <= at.date().isoformat()]
    found = by_day.get(max(days)) if days else by_day.get(None)
    return None if found is None else Fraction(found)


@settings(max_examples=examples(30), deadline=None)
@given(
    dated(_SHARE),
    dated(_SHARE),
    dated(st.decimals("0.01", 9, places=4).map(str)),
    dated(st.decimals(0, 9, places=3).map(str)),
    st.data(),
)
def test_each_amount_is_made_of_what_held_on_its_day(
    markup: dict[str | None, str],
    discount: dict[str | None, str],
    fx: dict[str | None, str],
    price: dict[str | None, str],
    data: st.DataObject,
) -> None:
    shares = [
        data.draw(st.permutations([DatedShare(rate=rate, from_=day) for day, rate in said.items()]))
        for said in (markup, discount)
    ]
    rates = tuple(
        data.draw(st.permutations([FxRate(rate=rate, from_=day) for day, rate in fx.items()]))
    )
    prices = tuple(
        Price(model="m", input=rate, output=rate, currency="CNY", from_=day)
        for day, rate in price.items()
    )
    book = price_book_of(
        config(markup=tuple(shares[0]), discount=tuple(shares[1]), fx={"CNY": rates}, prices=prices)
    )
    again = PriceBook.from_terms(book.terms())
    for hours in data.draw(st.lists(st.integers(0, 24 * 9), min_size=1, max_size=6)):
        at = datetime.fromtimestamp(
            FIRST.replace(tzinfo=ZoneInfo(ZONE)).timestamp() + 3600 * hours, ZoneInfo(ZONE)
        )
        row, rate = holding(price, at), holding(fx, at)
        value = None if row is None else 123_457 * row * 1000 * (1 - (holding(discount, at) or 0))
        cost = None if value is None or rate is None else value * rate
        charge = None if cost is None else cost * (1 + (holding(markup, at) or 0))
        counts = Counts(123_000, None, None, None, 457, None, None)
        for one in (book, again):
            got = one.price(
                counts, upstream="up", team="t", model_requested="m", model_served=None, service_tier=None,
                started_at_ms=int(at.timestamp()) * 1000, status=200,
            )  # fmt: skip
            assert (got.cost_original_nano, got.cost_nano, got.charge_nano) == tuple(
                map(half_up, (value, cost, charge))
            )


def half_up(amount: Fraction | None) -> int | None:
    return (
        None
        if amount is None
        else (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
    )


def test_the_order_of_the_rows_makes_no_other_version() -> None:
    rows = (
        DatedShare(rate="0.05"),
        DatedShare(rate="0.1", from_="2026-11-01"),
        DatedShare(rate="0.2", from_="2026-12-01"),
    )
    assert (
        len(
            {
                price_book_of(config(markup=order, discount=order)).version
                for order in itertools.permutations(rows)
            }
        )
        == 1
    )
