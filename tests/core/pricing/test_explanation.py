"""How a record's amounts are explained: each product, each factor, and whether it comes to what was
booked."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.config.price_terms import price_book_of
from proxy.config.settings import FxRate, Price, Route, Settings, TeamSettings, UpstreamSettings
from proxy.core.pricing import explanation
from proxy.core.usage import Source
from tests.ledger.samples import START_MS, make_record

ZONE = ZoneInfo("Asia/Shanghai")
UPSTREAM = UpstreamSettings(base_url="http://h")
BOOK = price_book_of(
    Settings(
        upstreams={"modelmax": msgspec.structs.replace(UPSTREAM, discount="0.1")}, teams={"research": TeamSettings(markup="0.05")}, timezone="Asia/Shanghai",
        fx={"CNY": (FxRate(rate="0.14", from_="2026-01-01"),)},
        prices=(
            Price(model="deepseek-*", upstream="modelmax", input="2", cached="0.2", output="3", request="0.01", image="0.5", currency="CNY", from_="2026-01-01"),
            Price(model="plain", input="1", output="0.3333"),
            Price(model="part", input="1"),
        ),
    )
)  # fmt: skip


def priced(images: int | None = None, **changes):
    record = make_record(0, **changes)
    found = BOOK.price_record(record, images)
    return msgspec.structs.replace(
        record, **{name: getattr(found, name) for name in found.__struct_fields__}
    )


def told(record):
    found = explanation.explain(record, BOOK)
    assert found is not None
    return dict(explanation.lines(found, ZONE)), found


def test_what_an_alias_was_sent_as_is_told_by_the_prices_of_its_time():
    settings = Settings(
        upstreams={"modelmax": UPSTREAM},
        routes=(Route(model="fast", upstream="modelmax", as_="plain"),),
        prices=(Price(model="plain", input="1", output="1"),),
    )
    for asked, sent in (("fast", "plain"), ("plain", None)):
        record = make_record(0, model_requested=asked, model_served=None)
        found = explanation.explain(record, price_book_of(settings))
        assert found is not None and found.model_sent == sent
        assert dict(explanation.lines(found, ZONE)).get("sent as") == sent


def test_every_number_of_an_amount_is_told():
    shown, found = told(priced(images=2, cached_tokens=40, reasoning_tokens=5))
    assert shown == {
        "row": "deepseek-* at modelmax from 2026-01-01 (config)",
        "input": "60 × 2 CNY / 1,000,000 = 0.00012 CNY",
        "cached": "40 × 0.2 CNY / 1,000,000 = 0.000008 CNY",
        "output": "15 × 3 CNY / 1,000,000 = 0.000045 CNY",
        "reasoning": "5 × 3 CNY / 1,000,000 = 0.000015 CNY",
        "image": "2 × 0.5 CNY = 1 CNY",
        "request": "1 × 0.01 CNY = 0.01 CNY",
        "discount": "× (1 − 0.1)",
        "vendor bills": "= 0.9091692 CNY",
        "exchange": "× 0.14 USD/CNY",
        "cost": "= 0.127283688 USD",
        "markup": "× (1 + 0.05)",
        "charge": "= 0.133647872 USD, each rounded once, from the exact value",
    }
    assert found.as_booked and found.price_version == BOOK.version


def test_an_original_that_has_no_sum_is_not_compared():
    """An adjustment between rows of two currencies tells none."""
    record = msgspec.structs.replace(priced(images=2), cost_original_nano=None)
    found = explanation.explain(record, BOOK, 2)
    assert found is not None and found.as_booked
    other = explanation.explain(msgspec.structs.replace(record, charge_nano=1), BOOK, 2)
    assert other is not None and not other.as_booked


def test_what_is_no_answer_has_no_fee():
    """Whatever its status."""
    _, found = told(priced(images=2, input_tokens=0, output_tokens=0, source=Source.NONE))
    assert found.as_booked and found.parts == () and found.charge_nano == 0


def test_what_changes_nothing_is_not_told():
    shown, _ = told(priced(model_requested="plain", model_served=None, upstream="other", team=None))
    assert list(shown) == ["row", "input", "output", "vendor bills", "cost", "charge"]
    assert (
        shown["row"] == "plain (config)"
        and shown["output"] == "20 × 0.3333 USD / 1,000,000 = 0.000006666 USD"
    )


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({}, "the row has a price for images, and nobody counted them"),
        ({"input_tokens": None}, "the token counts are not known"),
        (
            {"model_requested": "part", "model_served": None},
            "the row has no price for output tokens",
        ),
        ({"status": 500, "started_at_ms": 1_700_000_000_000}, None),
        (
            {
                "model_requested": "plain",
                "model_served": None,
                "input_tokens": 2**53 * 10,
                "output_tokens": 0,
            },
            "the amount is larger than a ledger can hold",
        ),
    ],
)
def test_why_an_amount_is_not_known(changes, because):
    found = explanation.explain(priced(**changes), BOOK)
    assert (because is None and found is None) or (
        found is not None
        and found.unknown_because == because
        and dict(explanation.lines(found, ZONE))["unknown"] == because
    )


def test_an_exchange_rate_that_came_later():
    book = price_book_of(
        Settings(
            prices=(Price(model="*", input="1", output="1", currency="CNY"),),
            fx={"CNY": (FxRate(rate="0.14", from_="2030-01-01"),)},
        )
    )
    found = explanation.explain(make_record(0), book)
    assert (
        found is not None
        and found.unknown_because == "there was no exchange rate for CNY at that time"
        and found.cost_original_nano == 120_000
    )


def test_a_record_that_says_something_else_is_told_so():
    shown, found = told(msgspec.structs.replace(priced(images=1), charge_nano=1))
    assert not found.as_booked and "the record says other amounts" in shown["differs"]
    assert (
        explanation.explain(make_record(0, model_requested="unknown", model_served=None), BOOK)
        is None
    )


@pytest.mark.parametrize(
    ("span", "text"),
    [((990, 30), "16:30-00:30"), ((0, 0), "00:00-24:00"), ((720, 0), "12:00-24:00")],
)
def test_hours(span, text):
    assert explanation.hours(span) == text


def test_a_day_is_named_where_one_begins():
    midnight = START_MS - START_MS % 86_400_000
    assert (
        explanation.day(midnight, ZoneInfo("UTC")) == "2026-11-01"
        and explanation.day(midnight, ZONE) == "2026-11-01T08:00+08:00"
    )


def test_a_row_is_named_with_all_that_makes_it_apply():
    row = msgspec.structs.replace(
        BOOK.rows[0],
        model="m",
        upstream=None,
        service_tier="flex",
        above_input_tokens=200_000,
        hours_utc=(990, 30),
        from_ms=None,
        source="table 1",
    )
    assert (
        explanation.name_of(row, ZONE)
        == "m in tier flex above 200,000 input tokens 16:30-00:30 UTC (table 1)"
    )


def test_a_team_is_told_its_own_rates_and_their_sum_is_its_charge():
    found = explanation.explain(priced(images=2, cached_tokens=40, reasoning_tokens=5), BOOK)
    assert found is not None
    shown = dict(explanation.charge_lines(found))
    assert shown == {
        "input": "60 × 0.2646 USD / 1,000,000 = 0.000015876 USD",
        "cached": "40 × 0.02646 USD / 1,000,000 = 0.0000010584 USD",
        "output": "15 × 0.3969 USD / 1,000,000 = 0.0000059535 USD",
        "reasoning": "5 × 0.3969 USD / 1,000,000 = 0.0000019845 USD",
        "image": "2 × 0.06615 USD = 0.1323 USD",
        "request": "1 × 0.001323 USD = 0.001323 USD",
        "charge": "= 0.133647872 USD, rounded once, from the exact value",
    }
    other = msgspec.structs.replace(found, as_booked=False, unknown_because="why", model_sent="m")
    more = dict(explanation.charge_lines(other))
    assert more["unknown"] == "why" and more["sent as"] == "m" and "operator" in more["differs"]


def test_without_an_exchange_rate_a_team_reads_no_other_currency_as_its_own():
    found = explanation.explain(priced(images=2), BOOK)
    assert found is not None
    without = msgspec.structs.replace(found, fx_rate=None, charge_nano=None, unknown_because="why")
    assert dict(explanation.charge_lines(without)) == {"unknown": "why"}
