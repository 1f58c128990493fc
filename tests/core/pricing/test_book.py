"""The price book: what a config says becomes amounts, the same again from its terms, and dates fall
where the configured zone has them."""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.price_tables import Table
from proxy.config.price_terms import minutes_of, price_book_of
from proxy.config.settings import FxRate, Price, Route, Settings, TeamSettings, UpstreamSettings
from proxy.core.pricing.amounts import Counts, Priced
from proxy.core.pricing.book import PLANS_MAX, PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.usage import Outcome, Source, UsageRecord
from tests.support.effort import examples

NOON_MS = 1_793_500_000_000  # in November 2026
UPSTREAM = UpstreamSettings(base_url="http://h")


def a_config(*prices: Price, **changes: object) -> Settings:
    return Settings(**{"upstreams": {"up": UPSTREAM}, "prices": prices, **changes})


def row(model: str = "m", **changes: object) -> Price:
    return Price(**{"model": model, "input": "1", "output": "2", **changes})


def counts(
    input_tokens: int | None = 1_000, output_tokens: int | None = 500, **parts: int
) -> Counts:
    names = (
        "cached_tokens",
        "cache_write_tokens",
        "audio_input_tokens",
        "reasoning_tokens",
        "audio_output_tokens",
    )
    return Counts(
        input_tokens=input_tokens, output_tokens=output_tokens, **(dict.fromkeys(names) | parts)
    )


def priced(book: PriceBook, counted: Counts | None = None, **changes: object) -> Priced:
    asked = {
        "upstream": "up",
        "team": None,
        "model_requested": "m",
        "model_served": None,
        "service_tier": None,
        "started_at_ms": NOON_MS,
        "status": 200,
        "images": None,
    }
    return book.price(counts() if counted is None else counted, **{**asked, **changes})


def unpriced(book: PriceBook) -> Priced:
    return Priced(price_version=book.version)


def test_cost_and_charge_of_a_record():
    book = price_book_of(
        a_config(
            row("m*", input="2", cached="0.5", output="8.000", currency="CNY", upstream="up"),
            fx={"CNY": (FxRate(rate="0.14"), FxRate(rate="0.150", from_="2027-01-01"))},
            upstreams={"up": msgspec.structs.replace(UPSTREAM, discount="0.1"), "other": UPSTREAM},
            teams={"research": TeamSettings(markup="0.05")},
        )
    )
    original = 600 * 2_000 + 400 * 500 + 500 * 8_000
    got = priced(book, counts(cached_tokens=400), team="research")
    assert got == Priced(
        cost_nano=original * 90 * 14 // 10_000, charge_nano=original * 90 * 14 * 105 // 1_000_000, currency="USD", price_version=book.version, price_model="m*",
        price_currency="CNY", cost_original_nano=original * 9 // 10, fx_rate="0.14",
    )  # fmt: skip
    assert priced(book, counts(cached_tokens=400), team="another").charge_nano == got.cost_nano
    assert priced(book, started_at_ms=NOON_MS + 90 * 86_400_000).fx_rate == "0.15"
    assert priced(book, upstream="other") == unpriced(book)


def test_without_a_conversion_there_is_no_rate_and_the_original_is_the_cost():
    got = priced(price_book_of(a_config(row())))
    assert (
        got.cost_nano,
        got.charge_nano,
        got.cost_original_nano,
        got.currency,
        got.price_currency,
        got.fx_rate,
    ) == (2_000_000, 2_000_000, 2_000_000, "USD", "USD", None)


@pytest.mark.parametrize(
    ("prices", "counted", "expected"),
    [
        ((), counts(), {}),
        ((row("n"),), counts(), {}),
        # The row is told, what cannot be told is not 0.
        (
            (row(currency="CNY"),),
            counts(),
            {"price_model": "m", "price_currency": "CNY", "cost_original_nano": 2_000_000},
        ),
        ((row(image="1"),), counts(), {"price_model": "m", "price_currency": "USD"}),
        ((row(output=None),), counts(), {"price_model": "m", "price_currency": "USD"}),
        ((row(),), counts(None), {"price_model": "m", "price_currency": "USD"}),
    ],
)
def test_what_is_not_known_is_null(prices, counted, expected):
    book = price_book_of(a_config(*prices, fx={"CNY": (FxRate(rate="1", from_="2030-01-01"),)}))
    assert priced(book, counted) == Priced(**expected, price_version=book.version), (
        "what it is not priced by is known too"
    )


# Midnight of 2026-11-01 in three zones; New York has its 4th hour off that night, Lord Howe is half
# an hour off the hour.
@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Kolkata", "2026-10-31T18:30Z"),
        ("America/New_York", "2026-11-01T04:00Z"),
        ("Australia/Lord_Howe", "2026-10-31T13:00Z"),
    ],
)
def test_a_price_begins_at_midnight_of_the_configured_zone(zone, midnight):
    book = price_book_of(
        a_config(
            row(input="1"),
            row(input="3", from_="2026-11-01"),
            row(input="5", from_="2026-11-02"),
            timezone=zone,
        )
    )
    first_ms = int(datetime.fromisoformat(midnight).timestamp()) * 1000
    assert (
        datetime.fromtimestamp(first_ms / 1000, ZoneInfo(zone)).isoformat()[:16]
        == "2026-11-01T00:00"
    )
    next_ms = int(datetime(2026, 11, 2, tzinfo=ZoneInfo(zone)).timestamp()) * 1000
    assert next_ms - first_ms == (25 if zone == "America/New_York" else 24) * 3_600_000
    times = [0, first_ms - 1, first_ms, next_ms - 1, next_ms]
    assert [priced(book, counts(1, 0), started_at_ms=at_ms).cost_nano for at_ms in times] == [
        1_000,
        1_000,
        3_000,
        3_000,
        5_000,
    ]


def test_an_exchange_rate_begins_at_midnight_of_the_configured_zone_whatever_its_place():
    book = price_book_of(
        a_config(
            row(currency="CNY"),
            timezone="Asia/Shanghai",
            fx={
                "CNY": (FxRate(rate="2", from_="2026-11-01"), FxRate(rate="1", from_="2026-10-01"))
            },
        )
    )
    first_ms = int(datetime.fromisoformat("2026-11-01T00:00+08:00").timestamp()) * 1000
    assert [priced(book, started_at_ms=at_ms).fx_rate for at_ms in (0, first_ms - 1, first_ms)] == [
        None,
        "1",
        "2",
    ]


def test_the_version_is_of_all_that_makes_an_amount_and_of_nothing_else():
    base = a_config(
        row(),
        row("n"),
        fx={"CNY": (FxRate(rate="0.14"),)},
        teams={"t": TeamSettings(markup="0.05")},
    )
    book = price_book_of(base)
    assert book.version == hashlib.sha256(book.terms()).hexdigest()[:16]
    replace = msgspec.structs.replace
    same = [
        replace(base, prices=base.prices[::-1]),
        replace(base, prices=(row(input="1.00"), row("n", output="02"))),
        replace(
            base, support="someone", teams={**base.teams, "u": TeamSettings(labels={"a": "b"})}
        ),
        replace(
            base, upstreams={"up": replace(UPSTREAM, discount="0.0", api_key="k"), "new": UPSTREAM}
        ),
    ]
    assert {price_book_of(other).version for other in same} == {book.version}
    different = [
        replace(base, prices=base.prices[:1]),
        replace(base, prices=(row(input="1.01"), row("n"))),
        replace(base, prices=(row(service_tier="flex"), row("n"))),
        replace(base, fx={"CNY": (FxRate(rate="0.15"),)}),
        replace(base, fx={"CNY": (FxRate(rate="0.14", from_="2026-01-01"),)}),
        replace(base, teams={}),
        replace(base, upstreams={"up": replace(UPSTREAM, discount="0.5")}),
        replace(base, currency="EUR"),
        replace(base, timezone="Asia/Tokyo"),
        replace(base, upstreams={"up": replace(UPSTREAM, served_price="requested")}),
        replace(base, routes=(Route(model="m", upstream="up", as_="n"),)),
    ]
    assert (
        len({book.version, *(price_book_of(other).version for other in different)})
        == len(different) + 1
    )


@pytest.mark.parametrize("policy", ["served", "requested"])
def test_an_alias_is_the_model_that_its_upstream_is_sent(policy):
    config = a_config(
        row("dear", input="3", output="6"),
        row("m"),
        upstreams={"up": msgspec.structs.replace(UPSTREAM, served_price=policy)},
        routes=(Route(model="m", upstream="up", as_="dear"), Route(model="*", upstream="up")),
    )
    for book in (price_book_of(config), PriceBook.from_terms(price_book_of(config).terms())):
        for _ in range(2):  # worked out, and remembered
            assert priced(book).cost_nano == priced(book, model_served="dear").cost_nano
            assert priced(book).price_model == "dear"
        assert priced(book, upstream="other").price_model == "m"
        assert book.charge_bound_nano("up", None, "m", 1, 1, NOON_MS) == 9_000
        assert not book.is_priced("up", "n", NOON_MS)
        (best, *_) = book.rows_for("up", "m", None)
        assert best.model == "dear"


@pytest.mark.parametrize(("policy", "cost_nano"), [("served", 6_000_000), ("requested", 2_000_000)])
def test_whose_price_holds_where_another_model_answers(policy, cost_nano):
    upstream = msgspec.structs.replace(UPSTREAM, served_price=policy)
    config = a_config(row("m"), row("dear", input="3", output="6"), upstreams={"up": upstream})
    for book in (price_book_of(config), PriceBook.from_terms(price_book_of(config).terms())):
        assert priced(book, model_served="dear").cost_nano == cost_nano
        assert priced(book, model_served="dear", model_requested=None).cost_nano == 6_000_000


def test_the_book_from_its_terms_prices_alike():
    config = a_config(
        row("m*", above_input_tokens=10, currency="CNY"), row("m", hours_utc="16:30-00:30", from_="2026-11-01"), row("m", service_tier="flex", image="0.5"), row("*", request="1"),
        fx={"CNY": (FxRate(rate="0.14", from_="2026-01-01"),)}, teams={"t": TeamSettings(markup="0.05")}, upstreams={"up": msgspec.structs.replace(UPSTREAM, discount="0.25", price_source="p")},
    )  # fmt: skip
    table = Table(
        name="table",
        version="1",
        date="",
        url="",
        providers={"p": (PriceRow(model="mini", currency="USD", input="1", output="1"),)},
    )
    book = price_book_of(config, table)
    again = PriceBook.from_terms(book.terms())
    assert (again.version, again.terms(), again.rows) == (book.version, book.terms(), book.rows)
    for model, tier, tokens, hour, team in itertools.product(
        ("m", "mini", "x"), (None, "flex"), (1, 11), range(24), (None, "t")
    ):
        asked = {
            "model_requested": model,
            "service_tier": tier,
            "started_at_ms": NOON_MS + hour * 3_600_000,
            "team": team,
            "images": 2,
        }
        assert priced(again, counts(tokens, 1), **asked) == priced(book, counts(tokens, 1), **asked)
    with pytest.raises(msgspec.ValidationError):
        PriceBook.from_terms(b'{"rows": []}')


def test_bundled_rows_hold_for_their_upstream_only_and_behind_the_operators():
    own, other = (
        PriceRow(model="m", currency="USD", input="7", output="7"),
        PriceRow(model="x", currency="USD", input="9", output="9"),
    )
    table = Table(
        name="table",
        version="1",
        date="",
        url="",
        providers={"p": (own,), "q": (other,)},
        fallbacks={"p": ("q",)},
    )
    asking = {"up": msgspec.structs.replace(UPSTREAM, price_source="p"), "plain": UPSTREAM}
    book = price_book_of(a_config(upstreams=asking), table)
    assert [
        (row.model, row.upstream, row.rank, row.source) for row in book.rows if row.upstream == "up"
    ] == [("m", "up", 1, "table 1"), ("x", "up", 2, "table 1")]
    assert (
        priced(book, counts(1, 0)).cost_nano == 7_000
        and priced(book, counts(1, 0), model_requested="X").cost_nano == 9_000
    )
    assert priced(book, upstream="plain") == unpriced(book)
    assert (
        priced(price_book_of(a_config(row(), upstreams=asking), table), counts(1, 0)).cost_nano
        == 1_000
    )


def test_a_row_without_rates_hides_the_wider_ones():
    table = Table(
        name="t",
        version="1",
        date="",
        url="",
        providers={
            "p": (
                PriceRow(model="m*", currency="USD", input="1", output="1"),
                PriceRow(model="m-image", currency="USD"),
            )
        },
    )
    book = price_book_of(
        a_config(upstreams={"up": msgspec.structs.replace(UPSTREAM, price_source="p")}), table
    )
    assert priced(book, model_requested="m-image") == unpriced(book) and priced(
        book, model_requested="m-text"
    ) != unpriced(book)
    assert (
        book.is_priced("up", "m-image", NOON_MS),
        book.has_row("up", "m-image"),
        book.has_row("up", "m-text"),
    ) == (False, False, True)


@pytest.mark.parametrize(
    ("prices", "has_price", "has_row"),
    [
        ((), False, False),
        ((row("n"),), False, False),
        ((row("m*"),), True, True),
        ((row(service_tier="flex"),), False, True),
        ((row(from_="2030-01-01"),), False, True),
        ((row(above_input_tokens=100),), False, True),
        ((row(currency="CNY"),), False, True),
        ((row(upstream="other"),), False, False),
    ],
)
def test_whether_a_request_would_have_a_price(prices, has_price, has_row):
    book = price_book_of(a_config(*prices, fx={"CNY": (FxRate(rate="1", from_="2030-01-01"),)}))
    assert (book.is_priced("up", "m", NOON_MS), book.has_row("up", "m")) == (has_price, has_row)


def test_images_are_counted_where_a_row_has_a_rate_for_them():
    book = price_book_of(a_config(row(upstream="up", image="0.1"), row("n", image="0")))
    assert (book.counts_images("up"), book.counts_images("other")) == (True, False)
    assert price_book_of(a_config(row(image="0.1"))).counts_images("other")


def a_record(images: int, **changes: object) -> UsageRecord:
    record = UsageRecord(
        id="id", writer="w0", started_at_ms=NOON_MS, duration_ms=1, key_id="k", endpoint="/v1/chat/completions", upstream="up", model_requested="m", status=200,
        outcome=Outcome.COMPLETED, input_tokens=10, output_tokens=3, input_source=Source.REPORTED, output_source=Source.REPORTED, source=Source.REPORTED,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


@pytest.mark.parametrize("discount", ["0", "0.333"])
def test_how_many_images_a_record_was_priced_with_follows_from_its_amount(discount):
    book = price_book_of(
        a_config(
            row(image="0.0123"),
            row("n"),
            upstreams={"up": msgspec.structs.replace(UPSTREAM, discount=discount)},
        )
    )
    for images in (0, 1, 17):
        got = book.price_record(a_record(images), images)
        assert book.images_of(a_record(images, cost_original_nano=got.cost_original_nano)) == images
    assert book.images_of(a_record(0, cost_original_nano=1)) is None, (
        "no number of images comes to this"
    )
    for changes in (
        {"status": 500},
        {"model_requested": "n"},
        {"model_requested": "x"},
        {"cost_original_nano": None},
    ):
        assert book.images_of(a_record(0, **{"cost_original_nano": 13, **changes})) is None


RATE = st.sampled_from(["0", "0.5", "1", "3.75", "10"])
ROWS = st.lists(
    st.builds(
        row, st.sampled_from(["m", "m*", "*"]), input=RATE, output=RATE, cached=st.none() | RATE, reasoning=st.none() | RATE, request=st.none() | RATE,
        service_tier=st.sampled_from([None, None, "flex", "priority"]), above_input_tokens=st.sampled_from([None, None, 5, 100]), from_=st.sampled_from([None, "2026-10-01"]),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(
    ROWS,
    st.integers(0, 200),
    st.integers(0, 50),
    st.integers(0, 200),
    st.integers(0, 50),
    st.sampled_from([None, "flex", "priority", "default"]),
    st.integers(0, 50),
    st.integers(0, 50),
)
@settings(max_examples=examples(300))
def test_no_answer_within_its_tokens_is_charged_more_than_the_bound(
    rows, input_max, output_max, input_tokens, output_tokens, tier, cached, reasoning
):
    book = price_book_of(a_config(*rows, teams={"t": TeamSettings(markup="0.1")}))
    bound = book.charge_bound_nano("up", "t", "m", input_max, output_max, NOON_MS)
    used = counts(
        min(input_tokens, input_max),
        min(output_tokens, output_max),
        cached_tokens=cached,
        reasoning_tokens=reasoning,
    )
    charged = priced(book, used, team="t", service_tier=tier).charge_nano
    assert bound is None or (charged is not None and charged <= bound)


def test_the_bound_takes_the_dearest_tier_and_context():
    rows = [
        row(input="1"),
        row(input="4", service_tier="priority"),
        row(input="9", above_input_tokens=100),
        row(input="90", from_="2030-01-01"),
        row(input="50", upstream="other"),
    ]
    book = price_book_of(a_config(*rows))
    assert [
        book.charge_bound_nano("up", None, "m", tokens, 0, NOON_MS) for tokens in (100, 101)
    ] == [400_000, 909_000]
    assert book.charge_bound_nano("up", None, "x", 1, 1, NOON_MS) is None
    assert (
        price_book_of(a_config(row(image="1"))).charge_bound_nano("up", None, "m", 1, 0, NOON_MS)
        is None
    )
    assert (
        price_book_of(a_config(row(image="1"))).charge_bound_nano(
            "up", None, "m", 1, 0, NOON_MS, images=2
        )
        == 2_000_001_000
    )


def test_names_from_outside_are_remembered_within_a_bound_and_do_not_keep_others_out():
    book = price_book_of(a_config(row("m*")))
    for number in range(PLANS_MAX + 10):
        assert (
            priced(book, model_served=f"m{number}", service_tier=str(number)).cost_nano == 2_000_000
        )
    assert len(book._plans) <= PLANS_MAX
    priced(book)
    assert ("up", "m", None, None) in book._plans


def test_a_quote_says_what_is_made_of_a_rate():
    config = a_config(
        row(currency="CNY"),
        fx={"CNY": (FxRate(rate="0.14", from_="2026-01-01"),)},
        teams={"t": TeamSettings(markup="0.05")},
        upstreams={"up": msgspec.structs.replace(UPSTREAM, discount="0.2")},
    )
    book = price_book_of(config)
    asked = {
        "upstream": "up",
        "model_requested": "m",
        "model_served": None,
        "service_tier": None,
        "input_tokens": 1,
    }
    quote = book.quote(team="t", at_ms=NOON_MS, **asked)
    assert quote is not None and (
        quote.row.model,
        quote.discount,
        quote.markup,
        quote.fx_rate,
        quote.fx_missing,
    ) == ("m", "0.2", "0.05", "0.14", False)
    early = book.quote(team=None, at_ms=0, **asked)
    assert early is not None and (early.markup, early.fx_rate, early.fx_missing) == (
        "0",
        None,
        True,
    )
    assert book.quote(team=None, at_ms=0, **{**asked, "model_requested": "x"}) is None
    assert book.priced_models("up") == ["m"]


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [("16:30-00:30", (990, 30)), ("00:00-24:00", (0, 0)), ("01:00-04:00", (60, 240))],
)
def test_hours_of_the_day(hours, minutes):
    assert minutes_of(hours) == minutes


@pytest.mark.parametrize(
    ("rows", "cost_nano"),
    [
        ([row(input="1")], None),
        ([row(input="1"), row(input="0.5", service_tier="Batch")], 500),
        ([row("*", input="1"), row("*", input="0.5", service_tier="batch")], 500),
        ([row(input="0.5", service_tier="flex")], None),
        (
            [
                row(input="0.5", service_tier="batch"),
                row(input="2", service_tier="batch", above_input_tokens=9),
            ],
            None,
        ),
    ],
)
def test_a_batch_is_priced_anew_by_rows_of_batches_alone(rows, cost_nano):
    """Its record says so: the usual price is not what a vendor bills for it."""
    book = price_book_of(a_config(*rows))
    record = a_record(0, reason="later", service_tier="batch", input_tokens=1, output_tokens=0)
    assert book.price_record(record).cost_nano == cost_nano
