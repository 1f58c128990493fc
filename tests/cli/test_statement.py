"""`tollkeeper statement show` over a real ledger file."""

from __future__ import annotations

import json

import pytest

from tests.ledger.samples import make_record

MONEY = {"cost_nano": 1_500_000, "charge_nano": 2_000_000, "currency": "USD", "price_version": "p1"}


@pytest.fixture(autouse=True)
def booked(book):
    return book(make_record(0, **MONEY), make_record(1, key_id="bob", team="sales", **MONEY))


def test_a_month_is_shown_as_markdown(call):
    result = call("statement", "show", "2026-11")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Statement of 2026-11\n")
    assert "| **total** |  |  | **2** |" in result.stdout and result.stderr == ""


def test_its_csv_is_what_usage_says(call):
    usage = call("usage", "--month", "2026-11", "--format", "csv").stdout
    shown = call("statement", "show", "2026-11", "--format", "csv")
    assert (shown.stdout, shown.stderr) == (usage, "As the ledger stood at seq 2\n")


def test_json_and_html_have_a_team_s_part_as_it_stood(call, book):
    words = ("statement", "show", "2026-11", "--team", "sales", "--through", "2")
    shown = json.loads(call(*words, "--json").stdout)
    assert (shown["team"], shown["through"]) == ("sales", 2)
    assert [row["charge_nano"] for row in shown["rows"]] == [2_000_000, 2_000_000]
    book(make_record(2, team="sales", **MONEY))
    assert json.loads(call(*words, "--format", "json").stdout) == shown
    page = call(*words, "--format", "html").stdout
    assert page.startswith("<!doctype html>") and "Statement of 2026-11, team sales" in page


def test_an_empty_month_says_so(call):
    result = call("statement", "show", "2026-10", "--team", "sales")
    assert (result.exit_code, result.stderr) == (0, "No records in 2026-10 of team sales.\n")


def test_a_month_that_has_not_begun_says_so(call):
    result = call("statement", "show", "2999-01")
    assert (result.exit_code, result.stderr) == (
        0, "No records in 2999-01: 2999-01 has not begun.\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("2026-11", "--team", "sale"), 1, "of a team 'sale'. The nearest is 'sales'."),
        (("2026-11", "--team", ""), 1, "no record at all is of a team ''."),
        (("2026-11", "--zone", "Mars"), 2, "there is no zone 'Mars': write UTC or Asia/Shanghai."),
        (("2026-13",), 2, "'2026-13' is no month: write 2026-11."),
        (("november",), 2, "'november' is no month: write 2026-11."),
        ((), 2, "Missing argument 'YYYY-MM'."),
        (("2026-11", "--through", "9"), 1, "ends at seq 2, before 9"),
    ],
)
def test_a_wrong_question_says_what_to_write(call, words, exit_code, said):
    result = call("statement", "show", *words)
    assert result.exit_code == exit_code and said in result.stderr
