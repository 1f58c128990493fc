"""Rows of each vendor as lines of a bill."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.reconciling.line_reader import LeftOut, LineReader, UnreadableBill
from proxy.core.reconciling.lines import VendorLine
from proxy.core.reconciling.moments import Width, when
from proxy.core.reconciling.shapes import chosen
from tests.accounting.reconciling.books import UTC

AT = when("2026-11-01", UTC).start_ms


def read(vendor: str, **cells: str) -> VendorLine | LeftOut:
    """The line that a row of these cells is."""
    found = chosen(vendor, list(cells))
    assert found is not None
    return LineReader(found, UTC, found.shape.currency).read(7, cells)


ROWS: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("openai", {"start_time": "1793491200", "end_time": "1793577600", "amount.value": "0.06", "amount.currency": "usd", "line_item": "gpt-4o-2024-08-06, cached input", "quantity": "1000"},
     {"model": "gpt-4o-2024-08-06", "item": "cached", "amount_nano": 60_000_000, "currency": "USD", "width": Width.DAY, "input_tokens": 1000, "cached_tokens": 1000}),
    ("openai", {"start_time": "1793491200", "end_time": "1793494800", "input_tokens": "1000", "output_tokens": "500", "input_cached_tokens": "800", "num_model_requests": "5", "model": "gpt-4o", "batch": "true"},
     {"width": Width.HOUR, "amount_nano": None, "requests": 5, "input_tokens": 1000, "cached_tokens": 800, "output_tokens": 500, "tier": "batch"}),
    ("anthropic", {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z", "amount": "123.45", "currency": "USD", "model": "claude-opus-5", "token_type": "cache_read_input_tokens", "service_tier": "standard"},
     {"amount_nano": 1_234_500_000, "unit_nano": 100_000, "item": "cached", "tier": None}),
    ("anthropic", {"usage_date_utc": "2026-11-01", "model": "Claude Haiku 4.5", "token_type": "input_no_cache", "cost_usd": "0.05"},
     {"amount_nano": 50_000_000, "item": "input", "width": Width.DAY}),
    ("anthropic", {"usage_date_utc": "2026-11-01", "model_version": "claude-haiku-4-5", "usage_input_tokens_no_cache": "10", "usage_input_tokens_cache_write_5m": "3", "usage_input_tokens_cache_write_1h": "2", "usage_input_tokens_cache_read": "5", "usage_output_tokens": "4"},
     {"amount_nano": None, "input_tokens": 20, "cached_tokens": 5, "output_tokens": 4}),
    ("anthropic", {"usage_date_utc": "2026-11-01", "model": "--", "usage_type": "--", "token_type": "--", "cost_usd": "0.50", "cost_type": "web_search", "speed": "--"},
     {"model": None, "item": "search", "tier": None, "amount_nano": 500_000_000}),
    ("anthropic", {"usage_date_utc": "2026-11-01", "model": "Claude Opus 5", "usage_type": "message", "token_type": "--", "cost_usd": "0.50", "cost_type": "token", "speed": "fast"},
     {"model": "Claude Opus 5", "item": "", "tier": "fast"}),
    ("anthropic", {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-12-01T00:00:00Z", "cost.amount": "123.45", "cost.list_amount": "200", "cost.currency": "USD", "cost.requests": "3", "group.model": "claude-opus-5", "group.service_tier": "priority_on_demand"},
     {"amount_nano": 1_234_500_000, "requests": 3, "model": "claude-opus-5", "tier": "priority_on_demand", "width": Width.MONTH}),
    ("openai", {"start_time": "1793491200", "amount.value": "0.06", "line_item": "gpt-4o, input", "quantity": "12.5", "quantity_unit": "1000_tokens"},
     {"input_tokens": 12_500}),
    ("openai", {"start_time": "1793491200", "amount.value": "0.06", "line_item": "gpt-image-1, output", "quantity": "3", "quantity_unit": "images"},
     {"output_tokens": None, "item": "output"}),
    ("openrouter", {"generation_id": "gen-1", "created_at": "2026-11-01 00:00:00.000", "cost_total": "1e-05", "tokens_prompt": "10", "tokens_completion": "2", "tokens_cached": "", "model_permaslug": "openai/gpt-4o", "cancelled": "true"},
     {"id": "gen-1", "amount_nano": 10_000, "cached_tokens": None, "cancelled": True, "width": Width.MOMENT}),
    ("deepseek", {"utc_date": "20261101", "model": "deepseek-chat", "type": "input_cache_hit_tokens", "price": "3.625e-9", "amount": "397074944"},
     {"amount_nano": 1_439_396_672, "item": "cached", "cached_tokens": 397_074_944, "currency": None}),
    ("deepseek", {"utc_date": "2026-11-01", "model": "deepseek-chat", "type": "request_count", "price": "", "amount": "3"},
     {"amount_nano": 0, "requests": 3, "input_tokens": None}),
    ("dashscope", {"消费时间": "2026-11-01 00:00:00", "实例ID（出账粒度）": "1;llm-x;qwen-max;output_token;app;0", "应付金额（含税）": "0.000001", "用量": "1000.5", "产品名称": "大模型服务平台百炼"},
     {"model": "qwen-max", "item": "output", "amount_nano": 1000, "currency": "CNY", "output_tokens": None}),
    ("new-api", {"created_at": "1793491200", "type": "2", "quota": "1000", "model_name": "gpt-4o", "prompt_tokens": "100", "completion_tokens": "20", "other": '{"cache_tokens":60,"model_ratio":1.25}'},
     {"amount_nano": 2_000_000, "unit_nano": 2_000, "cached_tokens": 60}),
    ("new-api", {"created_at": "1793491200", "type": "6", "quota": "1000", "model_name": "gpt-4o"}, {"amount_nano": -2_000_000, "asks": True}),
    ("focus", {"ChargePeriodStart": "2026-11-01T00:00:00Z", "ChargePeriodEnd": "2026-12-01T00:00:00Z", "BilledCost": "-5", "BillingCurrency": "USD", "ChargeCategory": "Credit"},
     {"asks": False, "item": "credit", "width": Width.MONTH}),
    ("generic", {"Date": "2026-11-01", "Model": "gpt-4o", "Cost": "(1.50)"}, {"amount_nano": -1_500_000_000, "asks": True}),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "cells", "says"), ROWS)
def test_a_row_says_what_its_vendor_means(
    vendor: str, cells: dict[str, str], says: dict[str, Any]
) -> None:
    line = read(vendor, **cells)
    assert isinstance(line, VendorLine) and line.at_ms == AT and line.number == 7
    assert {name: getattr(line, name) for name in says} == says


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"date": "Total", "model": "", "cost": "12"}, "lines of totals"),
        ({"date": "合计", "model": "", "cost": "12"}, "lines of totals"),
        ({"date": "", "model": "Grand Total", "cost": "12"}, "lines of totals"),
        ({"date": "Total (USD)", "model": "", "cost": "12"}, "lines of totals"),
        ({"date": "Summe", "model": "", "cost": "12"}, "lines of totals"),
        ({"date": "2026-11-30", "model": "All models", "cost": "12"}, "lines of totals"),
        ({"date": "date", "model": "model", "cost": "cost"}, "repeated heads"),
        ({"date": "", "model": "", "cost": ""}, "empty rows"),
        ({"date": "\\N", "model": "NULL", "cost": "—"}, "empty rows"),
        ({"date": "", "model": "gpt-4o", "cost": "2"}, "rows without a time"),
        ({"date": "2026-11-01", "model": "gpt-4o", "cost": ""}, "rows without an amount and without tokens"),
    ],
)  # fmt: skip
def test_rows_that_are_no_lines_are_left_out_and_why(cells: dict[str, str], reason: str) -> None:
    found = read("generic", **cells)
    assert isinstance(found, LeftOut) and found.reason == reason


def test_top_ups_and_other_products_are_left_out() -> None:
    topup = read("new-api", created_at="1793491200", type="1", quota="500000", model_name="")
    assert isinstance(topup, LeftOut) and "top-ups" in topup.reason
    server = read(
        "dashscope",
        BillingDate="2026-11-01",
        InstanceID="i-bp1",
        PretaxAmount="9",
        ProductName="ECS",
    )
    assert server == LeftOut("lines of other products", 9 * 10**9)


@pytest.mark.parametrize(
    ("category", "service", "counts"),
    [
        ("Compute", "Amazon EC2", False),
        ("AI and Machine Learning", "Amazon Bedrock", True),
        ("Other", "Claude Sonnet 4.5 (Amazon Bedrock Edition)", True),
        ("", "Amazon EC2", True),
    ],
)
def test_a_bill_of_a_whole_cloud_counts_for_its_models(
    category: str, service: str, counts: bool
) -> None:
    found = read(
        "focus",
        ChargePeriodStart="2026-11-01T00:00:00Z",
        BilledCost="9",
        BillingCurrency="USD",
        ServiceCategory=category,
        ServiceName=service,
    )
    assert isinstance(found, VendorLine) is counts
    assert counts or found == LeftOut("lines of other services", 9 * 10**9)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"cost": "abc"}, "line 7, column 'cost': 'abc' is no number"),
        ({"date": "45962"}, "line 7, column 'date': '45962' is no time"),
        ({"cost": "5e9"}, "line 7, column 'cost': '5e9' is beyond what a bill can say"),
        ({"input_tokens": "9" * 19}, "'9999999999999999999' is beyond what a bill can say"),
        ({"model": "m" * 501}, "line 7, column 'model': 'm{60}' has more than 500 characters"),
        ({"input_tokens": "1.5"}, "line 7, column 'input_tokens': '1.5' is no whole number"),
    ],
)
def test_a_bad_cell_is_named_with_what_to_do(cells: dict[str, str], said: str) -> None:
    row = {"date": "2026-11-01", "model": "gpt-4o", "cost": "1", "input_tokens": "1"} | cells
    with pytest.raises(UnreadableBill, match=said) as caught:
        read("generic", **row)
    assert "Correct the line" in str(caught.value)


def test_an_amount_in_another_currency_than_the_bill_is_refused() -> None:
    cells = {"Date": "2026-11-01", "Model": "gpt-4o", "Cost": "1,50 €"}
    line = read("generic", **cells)
    assert isinstance(line, VendorLine)
    assert (line.amount_nano, line.currency) == (1_500_000_000, "EUR")
    with pytest.raises(
        UnreadableBill, match=r"line 7, column 'Cost': .* is in EUR and the bill in"
    ):
        read("generic", **cells, Currency="USD")
    assert isinstance(read("generic", **(cells | {"Cost": "$1.50"}), Currency="CAD"), VendorLine)


def test_counts_have_thousands_and_amounts_may_have_two_meanings() -> None:
    cells = {"date": "2026-11-01", "model": "a", "cost": "1,234", "input_tokens": "1,234"}
    found = chosen("generic", list(cells))
    assert found is not None
    reader = LineReader(found, UTC, "USD")
    line = reader.read(2, cells)
    assert isinstance(line, VendorLine)
    assert (line.input_tokens, line.amount_nano) == (1234, 1234 * 10**9)
    with pytest.raises(UnreadableBill, match=r"A number has two meanings.*'1,234' on line 2"):
        reader.check()
    reader.look({"cost": "0.5"})
    reader.check()


@pytest.mark.parametrize(
    ("end", "days"),
    [
        ("2026-11-16T00:00:00Z", 15),
        ("2026-11-15T23:59:59Z", 15),
        ("2026-11-15T23:59:59.999Z", 15),
        ("2026-12-01T00:00:00Z", 30),
    ],
)
def test_a_line_ends_where_it_says(end: str, days: int) -> None:
    line = read(
        "anthropic", starting_at="2026-11-01T00:00:00Z", ending_at=end, amount="5", model="claude"
    )
    assert isinstance(line, VendorLine)
    assert (line.width, line.end_ms) == (Width.MONTH, AT + days * 86_400_000)


def test_a_request_is_at_its_start_and_no_time_long() -> None:
    cells = {"startTime": "2026-11-01T00:00:00Z", "endTime": "2026-11-01T05:00:00Z", "spend": "1"}
    for more, width in (({"request_id": "r"}, Width.MOMENT), ({}, Width.DAY)):
        line = read("generic", **cells, **more)
        assert isinstance(line, VendorLine) and (line.at_ms, line.width) == (AT, width)
