"""A comparison for people: what to do next, and nothing that steers a terminal or a sheet."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from proxy.accounting.reconciling.comparison import Reconciled
from proxy.cli.reconcile_report import as_csv, remainder_nano, show, within
from tests.accounting.reconciling.books import (
    DAY_MS,
    NOVEMBER_MS,
    UTC,
    by_day,
    by_request,
    held,
    priced,
)
from tests.accounting.reconciling.test_job import FOCUS, planted


def shown(found: Reconciled, capsys: pytest.CaptureFixture[str]) -> str:
    show(found, [Path("bill")], "vendor", "0.5%", within=within(found, Fraction(1, 200)))
    return capsys.readouterr().out


def test_each_cause_has_its_line_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records, bill, _ = planted()
    text = shown(held(tmp_path, records, bill, "openrouter", from_ms=NOVEMBER_MS), capsys)
    for said in (
        "differs: what was read from a cache is priced otherwise",
        "differs: billed in another service tier",
        "differs: a request that is billed twice, or a failed try",
        "The largest of 25 differences",
        "day_boundary: add --zone with the vendor's zone.",
        "estimate: `stream_usage: inject` makes such requests exact.",
    ):
        assert said in text


def test_the_vendors_day_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [priced(n) for n in range(72)]
    bill = by_day(records, shift_ms=DAY_MS // 4)
    found = held(
        tmp_path, records, bill, "openai", from_ms=NOVEMBER_MS, to_ms=NOVEMBER_MS + 3 * DAY_MS
    )
    assert "The vendor's day seems to begin 6 hours later than in UTC." in shown(found, capsys)


def test_what_stands_beside_the_requests_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bill = FOCUS.format("0.1", "0.1")
    text = shown(held(tmp_path, [priced(0)], bill, "focus", currency="USD"), capsys)
    assert "made by no request: credit, 1 lines, -5.00 USD." in text
    assert "Left out: 1 lines in EUR, 7.00." in text


def test_tokens_without_money_differ_or_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = priced(0)
    bill = "start_time,end_time,model,input_tokens,output_tokens,num_model_requests\n"
    bill += f"{NOVEMBER_MS // 1000},{NOVEMBER_MS // 1000 + 86_400},gpt-4o,{record.input_tokens},{{}},1\n"
    same = held(tmp_path, [record], bill.format(record.output_tokens), "openai")
    other = held(tmp_path, [record], bill.format(1), "openai")
    assert within(same, Fraction(0)) and not within(other, Fraction(1))
    assert "tokens and no money: 1 differences" in shown(other, capsys)


def test_no_name_of_a_bill_is_a_formula_or_steers_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bill = by_request(
        [priced(0)],
        generation_id=lambda record: "=1+1",
        model_permaslug=lambda record: "\x1b[2J@m",
    )
    found = held(tmp_path, [], bill, "openrouter")
    assert "'=1+1" not in shown(found, capsys) and "\x1b" not in shown(found, capsys)
    assert "'@m" not in as_csv(found, UTC) and ",'=1+1," in as_csv(found, UTC)
    assert remainder_nano(found) == 0
