"""What was booked stays, unless the config says something about that time.

Markups, discounts, exchange rates, rows and tables change later, and what each does is a line of a
table.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.price_tables import Table
from proxy.config.price_terms import price_book_of
from proxy.config.settings import (
    DatedShare,
    FxRate,
    Price,
    Route,
    Settings,
    TeamSettings,
    UpstreamSettings,
)
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.booked import BookedPrices, Kept
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.records.repricing import reprice, standing
from proxy.core.usage import UsageRecord
from tests.ledger.samples import make_record
from tests.support.effort import examples

FIRST = datetime(2026, 11, 1)
NOON_MS = int(FIRST.replace(hour=12).timestamp()) * 1000
VENDOR = UpstreamSettings(base_url="http://h", price_source="p")


def config(
    *prices: dict[str, Any],
    markup: Any = "0",
    discount: Any = "0",
    left: bool = False,
    **changes: Any,
) -> Settings:
    """`left`: the team and the vendor are gone."""
    teams = {} if left else {"research": TeamSettings(markup=markup)}
    upstreams = {} if left else {"modelmax": msgspec.structs.replace(VENDOR, discount=discount)}
    return Settings(
        prices=tuple(Price(**{"model": "m", **row}) for row in prices),
        teams=teams,
        upstreams=upstreams,
        **changes,
    )


def table(version: str, *rows: PriceRow) -> Table:
    return Table(name="table", version=version, date="2026-10-26", url="", providers={"p": rows})


def public(rate: str, **changes: Any) -> PriceRow:
    return PriceRow(**{"model": "m", "currency": "USD", "input": rate, "output": rate, **changes})


def share(rate: str, day: str | None = None) -> DatedShare:
    return DatedShare(rate=rate, from_=day)


class History:
    """One record of a million input tokens, booked by a book of prices, and what priced it anew
    since."""

    def __init__(self, book: PriceBook, at_ms: int = NOON_MS, served: str | None = None) -> None:
        self.kept = {book.version: book.terms()}
        record = make_record(
            0,
            started_at_ms=at_ms,
            model_requested="m",
            model_served=served,
            input_tokens=1_000_000,
            output_tokens=0,
        )
        self.booked = msgspec.structs.replace(
            record, **msgspec.structs.asdict(book.price_record(record))
        )
        self.corrections: list[UsageRecord] = []

    def rerate(self, now: PriceBook) -> tuple[str, Kept | None]:
        prices = BookedPrices(now, self.kept.get, lambda at_ms: None)
        stands = standing(self.booked, self.corrections)
        priced, kept = prices.price(self.booked, self.corrections, stands)
        found = reprice(self.booked, self.corrections, stands, priced)
        if found.adjustment is not None:
            self.corrections.append(found.adjustment)
            version = found.adjustment.price_version
            assert version is not None
            self.kept[version] = prices.terms_of(version)  # type: ignore[assignment]
        return found.verdict.value, kept

    @property
    def money(self) -> tuple[int | None, int | None]:
        stands = standing(self.booked, self.corrections)
        return stands.cost_nano, stands.charge_nano


MILLION = 10**9  # nano-units that a million tokens at 1 come to
ONE = {"input": "1", "output": "1"}

# Before, and now -> (cost, charge) in units, and why it is not what now alone would say. The record
# is of noon on 1 November.
SHARES: dict[str, tuple[Settings, Settings, tuple[str, str], Kept | None]] = {
    "a markup without a date is raised": (config(ONE, markup="0.05"), config(ONE, markup="0.1"), ("1", "1.05"), Kept.EARLIER_TERMS),
    "a markup is raised from the next month on": (
        config(ONE, markup="0.05"), config(ONE, markup=(share("0.05"), share("0.1", "2026-12-01"))), ("1", "1.05"), None,
    ),
    "a markup is corrected from the month's beginning on": (
        config(ONE, markup="0.05"), config(ONE, markup=(share("0.05"), share("0.1", "2026-11-01"))), ("1", "1.1"), None,
    ),
    "a markup falls to nothing, and the date says when": (config(ONE, markup="0.05"), config(ONE, markup=(share("0", "2026-11-01"),)), ("1", "1"), None),
    "the row before the dated one is not of now": (
        config(ONE, markup="0.05"), config(ONE, markup=(share("0.2"), share("0.1", "2026-12-01"))), ("1", "1.05"), Kept.EARLIER_TERMS,
    ),
    "dated rows are taken out when they are history": (
        config(ONE, markup=(share("0.05"), share("0.1", "2026-10-01"))), config(ONE, markup="0.2"), ("1", "1.1"), Kept.EARLIER_TERMS,
    ),
    "the team and the vendor left": (config(ONE, markup="0.05", discount="0.1"), config(ONE, left=True), ("0.9", "0.945"), Kept.EARLIER_TERMS),
    "a price is corrected after the team left": (
        config(ONE, markup="0.05", discount="0.1"), config({"input": "2", "output": "2"}, left=True), ("1.8", "1.89"), Kept.EARLIER_TERMS,
    ),
    "a discount without a date is agreed": (config(ONE), config(ONE, discount="0.5"), ("1", "1"), Kept.EARLIER_TERMS),
    "a discount is agreed for the past": (config(ONE), config(ONE, discount=(share("0.5", "2026-11-01"),)), ("0.5", "0.5"), None),
    "a price is late, and the markup was raised meanwhile": (config(markup="0.05"), config(ONE, markup="0.1"), ("1", "1.05"), Kept.EARLIER_TERMS),
}  # fmt: skip
CNY = ONE | {"currency": "CNY"}
EXCHANGE = {
    "a rate of exchange without a date moves": (
        config(CNY, fx={"CNY": (FxRate(rate="0.14"),)}), config(CNY, fx={"CNY": (FxRate(rate="0.15"),)}), ("0.14", "0.14"), Kept.EARLIER_TERMS,
    ),
    "a rate of exchange is dated": (
        config(CNY, fx={"CNY": (FxRate(rate="0.14"),)}),
        config(CNY, fx={"CNY": (FxRate(rate="0.14"), FxRate(rate="0.15", from_="2026-11-01"))}),
        ("0.15", "0.15"), None,
    ),
    "a rate of exchange is late": (config(CNY), config(CNY, fx={"CNY": (FxRate(rate="0.14"),)}), ("0.14", "0.14"), None),
    "a currency is not used any more": (config(CNY, fx={"CNY": (FxRate(rate="0.14"),)}), config(CNY), ("0.14", "0.14"), None),
    "the row is in another currency now": (
        config(CNY, fx={"CNY": (FxRate(rate="0.14"),)}), config({"input": "0.13", "output": "0.13"}), ("0.13", "0.13"), None,
    ),
}  # fmt: skip
TWO, WIDE = {"input": "2", "output": "2"}, {"model": "m*", "input": "9", "output": "9"}
ROWS = {
    "a price is edited": (config(ONE), config(TWO), ("2", "2"), None),
    "a price is dated": (config(ONE), config(ONE, TWO | {"from_": "2026-12-01"}), ("1", "1"), None),
    "an old price is taken out": (
        config(ONE, TWO | {"from_": "2026-12-01"}),
        config(TWO | {"from_": "2026-12-01"}),
        ("1", "1"),
        None,
    ),
    "a price is taken out": (config(ONE), config(), ("1", "1"), None),
    "a price is taken out, and a wider row was there": (
        config(ONE, WIDE),
        config(WIDE),
        ("1", "1"),
        Kept.REMOVED_ROW,
    ),
    "a price is taken out, and the wider row is edited": (
        config(ONE, WIDE),
        config(WIDE | {"input": "8"}),
        ("1", "1"),
        Kept.REMOVED_ROW,
    ),
    "the row of a vendor goes, and one for all stays": (
        config(ONE | {"upstream": "modelmax"}, TWO),
        config(TWO, left=True),
        ("1", "1"),
        Kept.REMOVED_ROW,
    ),
    "a price is taken out for a new wider row": (config(ONE), config(WIDE), ("9", "9"), None),
    "a date is put off": (
        config(ONE, TWO | {"from_": "2026-10-01"}),
        config(ONE, TWO | {"from_": "2026-12-01"}),
        ("1", "1"),
        None,
    ),
    "a date is brought forward": (
        config(ONE, TWO | {"from_": "2026-12-01"}),
        config(ONE, TWO | {"from_": "2026-11-01"}),
        ("2", "2"),
        None,
    ),
    "a narrower row is new": (config(WIDE), config(WIDE, ONE), ("1", "1"), None),
    "the row that is gone did not tell": (
        config({"request": "1"}, WIDE),
        config(WIDE),
        ("9", "9"),
        None,
    ),
    "a price is nothing": (config(ONE), config({"input": "0", "output": "0"}), ("0", "0"), None),
}


def alias(sent: str, *prices: dict[str, Any]) -> Settings:
    """`m` is sent as another model."""
    return config(*prices, routes=(Route(model="m", upstream="modelmax", as_=sent),))


THIS, THAT = ONE | {"model": "this"}, TWO | {"model": "that"}
ALIASES = {
    "an alias leads elsewhere now": (alias("this", THIS, THAT), alias("that", THIS, THAT), ("1", "1"), Kept.EARLIER_TERMS),
    "a name becomes an alias": (config(ONE, THAT), alias("that", ONE, THAT), ("1", "1"), Kept.EARLIER_TERMS),
    "an alias becomes a name": (alias("this", THIS, TWO), config(THIS, TWO), ("1", "1"), Kept.EARLIER_TERMS),
    "the price of what was sent is edited": (
        alias("this", THIS), alias("that", THIS | TWO, THAT | {"input": "9"}), ("2", "2"), Kept.EARLIER_TERMS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*SHARES, *EXCHANGE, *ROWS, *ALIASES])
def test_what_a_change_of_the_config_does_to_what_is_booked(name: str) -> None:
    before, now, expected, kept = (SHARES | EXCHANGE | ROWS | ALIASES)[name]
    history = History(price_book_of(before))
    _, told = history.rerate(price_book_of(now))
    assert history.money == tuple(int(Fraction(units) * MILLION) for units in expected)
    assert told == kept
    assert history.rerate(price_book_of(now)) == ("unchanged", kept), "once is enough"


DATED = int(FIRST.timestamp()) * 1000
TABLES: dict[str, tuple[tuple[PriceRow, ...], tuple[PriceRow, ...], str, Kept | None]] = {
    "nothing changed": ((public("1"),), (public("1"),), "1", None),
    "a price changed without a date": ((public("1"),), (public("2"),), "1", Kept.EARLIER_TABLE),
    "a price changed, and the table knows when": (
        (public("1"),),
        (public("1"), public("2", from_ms=DATED)),
        "2",
        None,
    ),
    "it changed later": (
        (public("1"),),
        (public("1"), public("2", from_ms=DATED + 10**9)),
        "1",
        None,
    ),
    "a dated price is another one now": (
        (public("1", from_ms=DATED),),
        (public("2", from_ms=DATED),),
        "1",
        Kept.EARLIER_TABLE,
    ),
    "the model had no price": ((), (public("2"),), "2", None),
    "the model could not be priced": (
        (PriceRow(model="m", currency="USD"),),
        (public("2"),),
        "2",
        None,
    ),
    "the model is gone": ((public("1"),), (), "1", None),
    "the model is told by a glob now": (
        (public("1"),),
        (public("2", model="m*"),),
        "1",
        Kept.EARLIER_TABLE,
    ),
}


@pytest.mark.parametrize("name", list(TABLES))
def test_a_newer_bundled_table(name: str) -> None:
    before, now, expected, kept = TABLES[name]
    history = History(price_book_of(config(), table("1", *before)))
    _, told = history.rerate(price_book_of(config(), table("2", *now)))
    assert (history.money[0], told) == (int(expected) * MILLION, kept)


@pytest.mark.parametrize(
    ("before", "known", "now", "cost"),
    [([], True, [TWO], 2), ([TWO], True, [], 2), ([TWO], False, [], 2)],
)
def test_an_operators_row_and_the_table(
    before: list[dict[str, Any]], known: bool, now: list[dict[str, Any]], cost: int
) -> None:
    """A row that the operator adds wins over the table; one that is taken out does not leave the
    past to the table."""
    history = History(price_book_of(config(*before), table("1", *[public("1")] * known)))
    history.rerate(price_book_of(config(*now), table("1", public("1"))))
    assert history.money[0] == cost * MILLION


def test_what_a_rerating_booked_stays_too() -> None:
    history = History(price_book_of(config(ONE, markup="0.05")))
    history.rerate(price_book_of(config(TWO, markup=(share("0.1", "2026-11-01"),))))
    assert history.money == (2 * MILLION, 2_200_000_000)
    history.rerate(price_book_of(config(WIDE, left=True)))
    history.rerate(price_book_of(config(markup="0.5")))
    assert history.money == (9 * MILLION, 9_900_000_000), (
        "the wider row was new, the markup was of its time"
    )


def test_a_record_that_names_no_version_has_the_terms_of_its_time() -> None:
    """Earlier programs named none where no row applied."""
    then, now = price_book_of(config(markup="0.05")), price_book_of(config(ONE, markup="0.1"))
    record = make_record(
        0, model_requested="m", model_served=None, input_tokens=1_000_000, output_tokens=0
    )
    for terms, charge in (
        (then.terms(), 1_050_000_000),
        (None, 1_100_000_000),
        (b"{}", 1_100_000_000),
    ):
        priced, _ = BookedPrices(now, {}.get, lambda at_ms, terms=terms: terms).price(
            record, [], record
        )
        assert priced.charge_nano == charge


_RATE = st.integers(0, 400).map(lambda n: f"{n // 100}.{n % 100:02}")
_DAYS = st.none() | st.integers(-3, 6).map(lambda n: (FIRST + timedelta(days=n)).date().isoformat())
_DATED = st.dictionaries(_DAYS, _RATE, max_size=3)
Said = dict[str, dict[str | None, str]]
_SAID = st.fixed_dictionaries(
    {
        "price": _DATED,
        "discount": _DATED.map(lambda said: {d: f"0.{r[2:]}" for d, r in said.items()}),
        "markup": _DATED,
        "fx": _DATED,
    }
)


def said_by(said: Said) -> PriceBook:
    return price_book_of(
        config(
            *(
                {"input": rate, "output": rate, "currency": "CNY", "from_": day}
                for day, rate in said["price"].items()
            ),
            markup=tuple(share(rate, day) for day, rate in said["markup"].items()),
            discount=tuple(share(rate, day) for day, rate in said["discount"].items()),
            fx={"CNY": tuple(FxRate(rate=rate, from_=day) for day, rate in said["fx"].items())},
        )
    )


def at(by_day: dict[str | None, str], day: str, *, dated: bool = False) -> Fraction | None:
    """What holds on that day."""
    days = [one for one in by_day if one is not None and one <= day]
    found = by_day[max(days)] if days else None if dated else by_day.get(None)
    return None if found is None else Fraction(found)


def half_up(amount: Fraction) -> int:
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(_SAID, min_size=2, max_size=5), st.integers(0, 4))
def test_the_money_is_what_a_person_would_work_out(configs: list[Said], days: int) -> None:
    """A price says what it says for the day; a share or rate of exchange only if it has a date.

    Else what the record had stays.
    """
    when = FIRST + timedelta(days=days, hours=12)
    day = when.date().isoformat()
    history = History(said_by(configs[0]), int(when.timestamp()) * 1000)
    state = {name: at(configs[0][name], day) for name in configs[0]}
    money = work_out(state)
    assert history.money == money
    for said in configs[1:]:
        history.rerate(said_by(said))
        new = {
            name: found
            if (found := at(said[name], day, dated=name != "price")) is not None
            else state[name]
            for name in said
        }
        if new["fx"] is None:
            new["fx"] = at(said["fx"], day)
        after = work_out(new)
        if after[0] is not None and after != money:
            state, money = new, after
        assert history.money == money


def work_out(state: dict[str, Fraction | None]) -> tuple[int | None, int | None]:
    if state["price"] is None or state["fx"] is None:
        return None, None
    cost = 10**9 * state["price"] * (1 - (state["discount"] or 0)) * state["fx"]
    return half_up(cost), half_up(cost * (1 + (state["markup"] or 0)))


def test_whose_price_holds_is_the_contract_of_then() -> None:
    """`served_price` has no date, so it says how things are now."""
    rows = [Price(model="m", input="1", output="1"), Price(model="dear", input="9", output="9")]
    vendors = [
        msgspec.structs.replace(VENDOR, served_price=policy) for policy in ("served", "requested")
    ]
    books = [
        price_book_of(Settings(prices=tuple(rows), upstreams={"modelmax": vendor}))
        for vendor in vendors
    ]
    for then, now, cost in ((books[0], books[1], 9 * MILLION), (books[1], books[0], MILLION)):
        history = History(then, served="dear")
        assert history.rerate(now)[1] is Kept.EARLIER_TERMS
        assert history.money == (cost, cost)
