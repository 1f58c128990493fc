"""Whole comparisons: what was planted is found and rightly named, and nothing else is."""

from __future__ import annotations

import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.reconciling.comparison import Reconciled
from proxy.core.money import decimal
from proxy.core.reconciling.causes import Cause
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.rates import StatedRates
from proxy.core.reconciling.result import UNKNOWN, BillVerdict
from proxy.core.usage import Outcome, Source, UsageRecord
from tests.accounting.reconciling.books import (
    DAY_MS,
    HOUR_MS,
    NOVEMBER_MS,
    by_day,
    by_request,
    held,
    priced,
)
from tests.accounting.reconciling.planted import CUT, GUESSED, cost, planted
from tests.support.effort import examples


def adds_up(found: Reconciled) -> None:
    """The bill less the ledger is what the verdicts say."""
    assert found.billed_nano - found.ledger_nano == (
        found.missing_here.billed_nano
        - found.missing_there.own_nano
        + sum(tally.difference_nano for tally in found.differing.values())
    ) + (found.matched.billed_nano - found.matched.own_nano)


def test_each_of_25_planted_differences_is_found_and_rightly_named(tmp_path: Path) -> None:
    records, bill, causes = planted()
    assert len(causes) == 25 and len(set(causes.values())) == 8
    found = held(tmp_path, records, bill, "openrouter", from_ms=NOVEMBER_MS)
    assert {str(one.id): one.cause for one in found.differences} == causes
    assert {one.verdict for one in found.differences} == {BillVerdict.DIFFERING}
    assert found.level is Level.REQUEST and found.matched.count == 300 - 25
    adds_up(found)


def test_what_went_round_the_proxy_is_a_sum_of_its_own(tmp_path: Path) -> None:
    records = [priced(n) for n in range(20)]
    elsewhere = [priced(n, upstream_request_id=f"gen-other-{n}") for n in range(3)]
    found = held(tmp_path, records[:-2], by_request([*records[2:], *elsewhere]), "openrouter")
    bypass = sum(record.cost_nano or 0 for record in [*records[-2:], *elsewhere])
    assert (found.missing_here.count, found.missing_here.billed_nano) == (5, bypass)
    assert (found.missing_there.count, found.missing_there.own_nano) == (
        2,
        sum(record.cost_nano or 0 for record in records[:2]),
    )
    adds_up(found)


def test_requests_of_another_month_on_the_bill_are_told(tmp_path: Path) -> None:
    records = [priced(n) for n in range(4)]
    later = [
        priced(n, started_at_ms=NOVEMBER_MS + 40 * DAY_MS, upstream_request_id=f"gen-later-{n}")
        for n in range(2)
    ]
    found = held(
        tmp_path, records, by_request([*records, *later]), "openrouter",
        from_ms=NOVEMBER_MS, to_ms=NOVEMBER_MS + 30 * DAY_MS,
    )  # fmt: skip
    outside = found.left_out["lines outside of the period"]
    assert (outside.count, outside.billed_nano) == (2, sum(one.cost_nano or 0 for one in later))
    assert found.matched.count == 4 and found.gross_nano == 0
    adds_up(found)


def test_a_bill_of_another_month_is_refused_and_not_called_right(tmp_path: Path) -> None:
    records = [priced(n) for n in range(4)]
    with pytest.raises(UnreadableBill, match=r"days are 2026-11-01 to 2026-11-0.*bill.s month"):
        held(
            tmp_path, records, by_request(records), "openrouter",
            from_ms=NOVEMBER_MS + 30 * DAY_MS, to_ms=NOVEMBER_MS + 61 * DAY_MS,
        )  # fmt: skip


def day(n: int, **changes: Any) -> UsageRecord:
    """The n-th request, on the n-th day at noon."""
    return priced(n, started_at_ms=NOVEMBER_MS + n * DAY_MS + 12 * HOUR_MS, **changes)


DAY_CASES: dict[Cause, tuple[list[UsageRecord], dict[str, Any]]] = {
    Cause.CACHED_AS_INPUT: ([day(3, cached_tokens=700)], {"cached_tokens": 0}),
    Cause.OTHER_TIER: ([day(3)], {"service_tier": "priority"}),
    Cause.CANCELLED: ([day(3, **CUT)], {"output_tokens": 5_000}),
    Cause.ESTIMATE: ([day(3, **GUESSED)], {"output_tokens": 77}),
    Cause.MODEL_ALIAS: ([day(3, model_served="gpt-4o-mini")], {"model_served": "gpt-4o"}),
}


@pytest.mark.parametrize("cause", DAY_CASES)
def test_a_days_sum_has_its_cause(tmp_path: Path, cause: Cause) -> None:
    records, changes = DAY_CASES[cause]
    others = [day(n) for n in range(6) if n != 3]
    differs = [
        msgspec.structs.replace(record, cost_nano=cost(record, **changes)) for record in records
    ]
    found = held(tmp_path, [*others, *records], by_day([*others, *differs]), "openai")
    assert [one.cause for one in found.differences] == [cause]
    assert found.level is Level.DAY and found.matched.count == 5
    adds_up(found)


def test_another_models_name_for_a_day_is_found_by_its_amount(tmp_path: Path) -> None:
    records = [day(n) for n in range(4)]
    renamed = [*records[:3], msgspec.structs.replace(records[3], model_served="chatgpt-4o")]
    found = held(tmp_path, records, by_day(renamed), "openai")
    assert [one.cause for one in found.differences] == [Cause.MODEL_ALIAS]
    assert found.gross_nano == 0


def test_a_bill_in_cents_differs_by_rounding_alone(tmp_path: Path) -> None:
    records = [day(n) for n in range(6)]
    bill = by_day(records, shown=lambda nano: f"{(nano + 5_000_000) // 10_000_000 / 100:.2f}")
    found = held(tmp_path, records, bill, "openai")
    assert list(found.differing) == [Cause.ROUNDING]
    assert found.differing[Cause.ROUNDING].count + found.matched.count == 6


@pytest.mark.parametrize("hours", [8, -8, 5.5])
def test_days_that_begin_at_another_hour_are_recognised(tmp_path: Path, hours: float) -> None:
    records = [
        priced(n, started_at_ms=NOVEMBER_MS + n * HOUR_MS // 2 + 600_000) for n in range(240)
    ]
    shift_ms = int(hours * HOUR_MS)
    found = held(
        tmp_path,
        records,
        by_day(records, shift_ms=shift_ms),
        "openai",
        from_ms=NOVEMBER_MS,
        to_ms=NOVEMBER_MS + 5 * DAY_MS,
    )
    assert list(found.differing) == [Cause.DAY_BOUNDARY]
    assert found.day_begins_ms == shift_ms and not found.matched.count


def test_a_bill_whose_days_state_their_zone_is_compared_in_it(tmp_path: Path) -> None:
    records = [priced(n) for n in range(16, 40)]  # a day in Shanghai
    amount = decimal(sum(record.cost_nano or 0 for record in records))
    bill = (
        "user_id,start_time_iso,end_time_iso,model,wallet_type,cost,currency\n"
        f"u,2026-11-02T00:00:00+08:00,2026-11-03T00:00:00+08:00,gpt-4o,Paid,{amount},USD\n"
    )
    found = held(tmp_path, records, bill, "deepseek")
    assert (found.matched.count, found.difference_count, found.zone) == (1, 0, "Etc/GMT-8")


def test_more_requests_on_the_bill_than_here_went_round(tmp_path: Path) -> None:
    records = [priced(n) for n in range(24)]
    bill = "date,model,model_permaslug,usage,requests\n2026-11-01,gpt-4o,gpt-4o,{},{}\n"
    own = sum(record.cost_nano or 0 for record in records)
    found = held(tmp_path, records, bill.format(decimal(own + 10**9), 27), "openrouter")
    assert found.missing_here.billed_nano == 10**9 and not found.differing
    assert found.matched.own_nano == own
    adds_up(found)


def test_a_failed_try_that_is_billed_is_a_retry(tmp_path: Path) -> None:
    failed = priced(
        3, input_tokens=0, output_tokens=0, outcome=Outcome.UPSTREAM_FAILED, source=Source.NONE
    )
    records = [*(priced(n) for n in range(3)), failed]
    bill = by_request(
        records,
        cost_total=lambda record: "0.004" if record is failed else decimal(record.cost_nano),
    )
    found = held(tmp_path, records, bill, "openrouter")
    assert [(one.cause, one.id) for one in found.differences] == [(Cause.RETRY, "gen-3")]


def test_unknown_prices_are_said_to_be_and_are_no_remainder(tmp_path: Path) -> None:
    unknown = priced(2, model_requested="new-model", model_served="new-model")
    assert unknown.cost_nano is None
    records = [priced(0), priced(1), unknown]
    bill = by_request(
        records,
        cost_total=lambda record: "0.02" if record is unknown else decimal(record.cost_nano),
    )
    found = held(tmp_path, records, bill, "openrouter")
    assert [one.cause for one in found.differences] == [Cause.UNPRICED]


def test_what_nothing_explains_is_the_remainder(tmp_path: Path) -> None:
    records = [day(n) for n in range(4)]
    odd = msgspec.structs.replace(records[2], cost_nano=(records[2].cost_nano or 0) + 123_456_789)
    found = held(tmp_path, records, by_day([*records[:2], odd, records[3]]), "openai")
    assert list(found.differing) == [UNKNOWN]
    assert found.differing[UNKNOWN].difference_nano == 123_456_789


def test_ids_that_are_not_known_here_lead_to_sums(tmp_path: Path) -> None:
    records = [priced(n) for n in range(10)]
    bill = by_request(records, generation_id=lambda record: f"x{record.upstream_request_id}")
    found = held(tmp_path, records, bill, "openrouter")
    assert found.ids_unknown and found.level is Level.HOUR
    assert not found.difference_count and found.matched.count == 10


def test_a_line_that_is_dated_by_its_end_lies_in_the_next_hour(tmp_path: Path) -> None:
    records = [priced(n) for n in range(10)]
    bill = by_request(
        records,
        generation_id=lambda record: "",
        created_at=lambda record: (
            record.started_at_ms + (HOUR_MS if record.id == records[4].id else 0)
        ),
    )
    assert not held(tmp_path, records, bill, "openrouter").difference_count


def test_corrections_count_with_their_record(tmp_path: Path) -> None:
    records = [priced(n) for n in range(3)]
    correction = msgspec.structs.replace(
        records[1],
        id="01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e",
        kind="adjustment",
        adjusts=records[1].id,
        reason="rerate",
        input_tokens=0,
        output_tokens=0,
        cached_tokens=0,
        cost_nano=5,
        cost_original_nano=5_000,
        charge_nano=5,
    )
    bill = by_request(
        records,
        cost_total=lambda record: decimal(
            (record.cost_nano or 0) + (5_000 if record is records[1] else 0)
        ),
    )
    assert not held(tmp_path, [*records, correction], bill, "openrouter").difference_count


FOCUS = """ChargePeriodStart,ChargePeriodEnd,BilledCost,BillingCurrency,ChargeCategory,x_Model
2026-11-01T00:00:00Z,2026-11-02T00:00:00Z,{},USD,Usage,gpt-4o
2026-11-02T00:00:00Z,2026-11-03T00:00:00Z,{},USD,Usage,gpt-4o
2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,-5,USD,Credit,
2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,1.9,USD,Tax,
2026-11-02T00:00:00Z,2026-11-03T00:00:00Z,7,EUR,Usage,gpt-4o
"""


def test_credits_taxes_and_other_currencies_are_told_and_not_compared(tmp_path: Path) -> None:
    records = [day(n) for n in range(2)]
    bill = FOCUS.format(*(decimal(record.cost_nano or 0) for record in records))
    with pytest.raises(UnreadableBill, match="EUR and USD: choose one with --currency"):
        held(tmp_path, records, bill, "focus")
    found = held(tmp_path, records, bill, "focus", currency="USD")
    assert found.difference_count == 0 and found.matched.count == 2
    assert {name: tally.billed_nano for name, tally in found.other.items()} == {
        "credit": -5 * 10**9,
        "tax": 1_900_000_000,
    }
    assert found.left_out["lines in EUR"].billed_nano == 7 * 10**9


def test_a_bill_in_a_currency_without_any_cost_here_is_refused(tmp_path: Path) -> None:
    for ids in (True, False):
        bill = by_request(
            [priced(0)],
            generation_id=lambda record, ids=ids: record.upstream_request_id if ids else "",
        )
        with pytest.raises(UnreadableBill, match="is in CNY, and the ledger has costs in USD only"):
            held(tmp_path, [priced(0)], bill, "openrouter", currency="CNY")


def in_cny(n: int, **changes: Any) -> UsageRecord:
    """The n-th request of a vendor whose prices are in CNY, booked at 0.1387 USD."""
    record = day(n, **changes)
    original = (record.cost_nano or 0) * 7
    booked = (original * 1387 + 5000) // 10_000
    return msgspec.structs.replace(
        record, price_currency="CNY", cost_original_nano=original, cost_nano=booked
    )


def cny_bill(records: list[UsageRecord], **extra: int) -> str:
    sums = {
        n: (record.cost_original_nano or 0) + extra.get(f"day{n}", 0)
        for n, record in enumerate(records)
    }
    return "date,model,cost,currency\n" + "".join(
        f"2026-11-{n + 1:02},gpt-4o,{decimal(nano)},CNY\n" for n, nano in sums.items()
    )


def test_a_bill_in_the_vendors_currency_shows_the_ledgers_beside_it(tmp_path: Path) -> None:
    records = [in_cny(n) for n in range(5)]
    found = held(tmp_path, records, cny_bill(records), "generic")
    assert (found.currency, found.matched.count, found.difference_count) == ("CNY", 5, 0)
    assert (found.booked_currency, found.booked_nano) == (
        "USD",
        sum(record.cost_nano or 0 for record in records),
    )


def test_at_a_stated_rate_the_bill_is_compared_in_the_ledgers_currency(tmp_path: Path) -> None:
    records = [in_cny(n) for n in range(5)]
    same = StatedRates("USD", {"CNY": Fraction("0.1387")})
    found = held(tmp_path, records, cny_bill(records), "generic", currency="USD", rates=same)
    assert (found.currency, found.matched.count, found.difference_count) == ("USD", 5, 0)
    original = sum(record.cost_original_nano or 0 for record in records)
    assert found.converted["CNY"].original_nano == original and found.booked_nano is None
    adds_up(found)


def test_another_rate_than_the_ledgers_is_named_and_what_differs_beside_it(tmp_path: Path) -> None:
    records = [in_cny(n) for n in range(5)]
    other = StatedRates("USD", {"CNY": Fraction("0.14")})
    bill = cny_bill(records, day3=10**9)
    found = held(tmp_path, records, bill, "generic", currency="USD", rates=other)
    assert {str(cause): tally.count for cause, tally in found.differing.items()} == {
        "exchange_rate": 4,
        UNKNOWN: 1,
    }
    [one] = [one for one in found.differences if one.cause is None]
    assert one.at_ms is not None and (one.at_ms - NOVEMBER_MS) // DAY_MS == 3
    adds_up(found)


def test_a_bill_in_two_currencies_needs_a_rate_for_each(tmp_path: Path) -> None:
    records = [day(n) for n in range(2)]
    bill = "date,model,cost,currency\n" + "".join(
        f"2026-11-{n + 1:02},gpt-4o,{decimal((record.cost_nano or 0) * 2)},{code}\n"
        for n, (record, code) in enumerate(zip(records, ("EUR", "CHF"), strict=True))
    )
    half = StatedRates("USD", {"EUR": Fraction("0.5")})
    found = held(tmp_path, records, bill, "generic", currency="USD", rates=half)
    assert found.left_out["lines in CHF"].count == 1 and found.matched.count == 1
    both = StatedRates("USD", {"EUR": Fraction("0.5"), "CHF": Fraction("0.5")})
    assert held(tmp_path, records, bill, "generic", currency="USD", rates=both).matched.count == 2


def test_searches_that_are_billed_apart_are_named_and_their_fee_is_told(tmp_path: Path) -> None:
    """OpenAI has `web search tool calls` as a line of a day, and no model in it."""
    records = [
        day(0, model_served="o3", model_requested="o3", searches=3),
        day(1, model_served="o3", model_requested="o3"),
    ]
    bill = by_day(
        msgspec.structs.replace(record, cost_nano=cost(record, searches=0)) for record in records
    )
    page = json.loads(bill)
    fee = {"amount": {"value": "0.03", "currency": "usd"}, "line_item": "web search tool calls"}
    page["data"][0]["results"].append(fee)
    found = held(tmp_path, records, json.dumps(page), "openai")
    assert {str(name): tally.count for name, tally in found.differing.items()} == {"fee_apart": 1}
    assert found.other["search"].billed_nano == 30_000_000 and not found.missing_here.count
    adds_up(found)


def test_a_report_of_a_part_of_a_month_is_held_against_that_part(tmp_path: Path) -> None:
    """Anthropic's analytics without a bucket: one row of each model from its start to its end."""
    records = [day(n) for n in range(20)]
    for first, last in ((0, 10), (3, 15)):
        cents = decimal(100 * sum(record.cost_nano or 0 for record in records[first:last]))
        row = {
            "starting_at": f"2026-11-{first + 1:02}T00:00:00Z",
            "ending_at": f"2026-11-{last + 1:02}T00:00:00Z",
            "cost": {"amount": cents, "currency": "USD", "list_amount": "9"},
            "group": {"model": "gpt-4o"},
        }
        found = held(tmp_path, records, json.dumps({"data": [row], "has_more": False}), "anthropic")
        assert (found.level, found.matched.count, found.difference_count) == (Level.MONTH, 1, 0)


def test_codes_of_a_price_list_are_compared_as_one_sum(tmp_path: Path) -> None:
    """A cloud's FOCUS file has a SKU for each model and kind of token, and other services too."""
    records = [day(n, model_served=("gpt-4o", "gpt-4o-mini")[n % 2]) for n in range(4)]
    bill = "ChargePeriodStart,ChargePeriodEnd,BilledCost,BillingCurrency,ServiceCategory,SkuId\n"
    for n, record in enumerate(records):
        for sku, nano in (("SKU1", 1_000), ("SKU2", (record.cost_nano or 0) - 1_000)):
            days = f"2026-11-{n + 1:02}T00:00:00Z,2026-11-{n + 2:02}T00:00:00Z"
            bill += f"{days},{decimal(nano)},USD,AI and Machine Learning,{sku}\n"
        bill += f"{days},7,USD,Compute,SKU3\n"
    found = held(tmp_path, records, bill, "focus")
    assert found.models_unknown and (found.matched.count, found.difference_count) == (4, 0)
    assert found.left_out["lines of other services"].billed_nano == 28 * 10**9


def test_editions_of_a_model_are_compared_as_the_bill_tells_them_apart(tmp_path: Path) -> None:
    editions = ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06")
    records = [
        priced(n, started_at_ms=NOVEMBER_MS + n // 2 * DAY_MS, model_served=editions[n % 2])
        for n in range(8)
    ]
    found = held(
        tmp_path,
        records,
        by_day(msgspec.structs.replace(record, model_served="gpt-4o") for record in records),
        "openai",
    )
    assert (found.matched.count, found.difference_count) == (4, 0)
    assert found.names == {"gpt-4o": "gpt-4o-2024-05-13, gpt-4o-2024-08-06"}


def test_a_bill_of_all_models_names_none(tmp_path: Path) -> None:
    bill = "day,cost\n2026-11-01,1.5\n"
    [one] = held(tmp_path, [priced(0)], bill, "generic", currency="USD").differences
    assert (one.model, one.record) == (None, priced(0).id)


def test_a_level_that_the_bill_does_not_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBill, match="goes down to the day and not to the hour"):
        held(tmp_path, [day(0)], by_day([day(0)]), "openai", level=Level.HOUR)


def test_months_are_compared_where_the_bill_has_no_days(tmp_path: Path) -> None:
    records = [day(n) for n in range(20)]
    total = decimal(sum(record.cost_nano or 0 for record in records))
    found = held(tmp_path, records, f"month;model;cost\n2026-11;gpt-4o;{total}\n", "generic")
    assert (found.level, found.matched.count, found.difference_count) == (Level.MONTH, 1, 0)
    assert found.to_ms - found.from_ms == 30 * DAY_MS


@st.composite
def ledgers(draw: st.DrawFn) -> list[UsageRecord]:
    """Requests of any models, tokens, times and endings."""
    return [
        priced(
            n,
            started_at_ms=NOVEMBER_MS + draw(st.integers(0, 30 * DAY_MS - 1)),
            model_served=draw(st.sampled_from(["gpt-4o", "gpt-4o-mini", "o3"])),
            input_tokens=(inputs := draw(st.integers(0, 10**6))),
            cached_tokens=draw(st.integers(0, inputs)),
            output_tokens=draw(st.integers(0, 10**5)),
            **draw(st.sampled_from([{}, {}, CUT, GUESSED, {"client_retry_count": 1}])),
        )
        for n in range(draw(st.integers(1, 40)))
    ]


@settings(max_examples=examples(60), deadline=None)
@given(ledgers(), st.sampled_from(["request", "hour", "day"]))
def test_nothing_differs_where_nothing_does(records: list[UsageRecord], how: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bill = by_day(records) if how == "day" else by_request(records)
        if how == "hour":
            bill = by_request(records, generation_id=lambda record: "")
        vendor = "openai" if how == "day" else "openrouter"
        found = held(Path(directory), records, bill, vendor)
    assert found.differences == [] and found.level == how
    assert found.billed_nano == sum(record.cost_nano or 0 for record in records)
    adds_up(found)


@settings(max_examples=examples(60), deadline=None)
@given(ledgers(), st.data(), st.booleans())
def test_the_verdicts_always_add_up_to_the_bill(
    records: list[UsageRecord], data: st.DataObject, days: bool
) -> None:
    billed = [
        msgspec.structs.replace(
            record,
            cost_nano=max(0, (record.cost_nano or 0) + data.draw(st.integers(-(10**7), 10**7))),
            model_served=data.draw(st.sampled_from([record.model_served, "o3", "other"])),
        )
        for record in records
        if data.draw(st.integers(0, 4))
    ]
    if not billed:
        return
    with tempfile.TemporaryDirectory() as directory:
        bill = by_day(billed) if days else by_request(billed)
        found = held(Path(directory), records, bill, "openai" if days else "openrouter")
    adds_up(found)
    assert found.billed_nano == sum(record.cost_nano or 0 for record in billed)
    assert abs(found.billed_nano - found.ledger_nano) <= found.gross_nano + len(records)
