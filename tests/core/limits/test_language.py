"""The language of limits: what each text says, what is refused and why, and that a rule written out
reads the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.calendar import Per
from proxy.core.limits.language import Rule, Unit, parse, show, show_money
from proxy.core.money import NANO

# text                                     amount            unit           per     currency  models
READS = """
60 requests/minute                       | 60              | requests     | minute | -   | -
2_000_000 tokens/day                     | 2000000         | tokens       | day    | -   | -
0 requests/total                         | 0               | requests     | total  | -   | -
007 requests/second                      | 7               | requests     | second | -   | -
8 concurrent                             | 8               | concurrent   |        | -   | -
8 concurrent for o3-*                    | 8               | concurrent   |        | -   | o3-*
500 USD/month                            | 500000000000    | money        | month  | USD | -
0.50 EUR/total                           | 500000000       | money        | total  | EUR | -
0.000000001 USD/day                      | 1               | money        | day    | USD | -
999_999_999_999_999 VND/week             | 999999999999999000000000 | money | week | VND | -
100 USD/month for gpt-*                  | 100000000000    | money        | month  | USD | gpt-*
5 input_tokens/week for b, a-*,b         | 5               | input_tokens | week   | -   | a-* b
10 output_tokens / hour                  | 10              | output_tokens | hour  | -   | -
5 tokens/day for meta/llama-*            | 5               | tokens       | day    | -   | meta/llama-*
"""
REFUSED = """
                                         | expected "<amount> <unit>/<per>[ for <models>]"
requests/minute                          | expected "<amount>
60                                       | expected "<amount>
-1 tokens/day                            | expected "<amount>
1e6 tokens/day                           | expected "<amount>
1__0 tokens/day                          | expected "<amount>
1_ tokens/day                            | expected "<amount>
5 tokens/day for                         | expected "<amount>
60 request/minute                        | no such unit; the nearest known one is requests (or a currency code
5 usd/day                                | no such unit
5 money/day                              | no such unit
60 requests                              | say per what: one of second, minute
60 requests/min                          | no such period; the nearest known one is minute: one of
60 requests/fortnight                    | no such period
8 concurrent/day                         | concurrent takes no period: write "8 concurrent"
5 USD/hour                               | money needs a calendar period or total
1.5 tokens/day                           | only money may have decimals
1.0000000001 USD/day                     | money has at most 9 decimals
1_000_000_000_000_000 requests/day       | expected an amount of at most 15 digits
5 tokens/day for a,,b                    | models are separated by commas
5 tokens/day for a b                     | models are separated by commas
"""


def table(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("row", table(READS), ids=lambda row: row[0])
def test_each_text_says_one_rule(row: list[str]) -> None:
    text, amount, unit, per, currency, models = row
    rule = parse(text)
    assert rule == Rule(
        int(amount),
        Unit(unit),
        Per(per),
        None if currency == "-" else currency,
        () if models == "-" else tuple(models.split()),
    )
    assert parse(show(rule)) == rule


@pytest.mark.parametrize("row", table(REFUSED), ids=lambda row: row[0])
def test_what_is_refused_says_what_to_write(row: list[str]) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(row[1])}"):
        parse(row[0])


@given(st.integers(-(10**24), 10**24))
def test_money_is_shown_exactly(amount_nano: int) -> None:
    text = show_money(amount_nano)
    whole, _, decimals = text.removeprefix("-").partition(".")
    assert int(whole) * NANO + int(decimals.ljust(9, "0")) == abs(amount_nano)
    assert text.startswith("-") == (amount_nano < 0)
    assert len(decimals) != 1


@pytest.mark.parametrize(
    ("amount_nano", "text"),
    [
        (0, "0"),
        (500 * NANO, "500"),
        (NANO // 2, "0.50"),
        (1, "0.000000001"),
        (12_345_000_000, "12.345"),
        (-NANO // 10, "-0.10"),
    ],
)
def test_money_is_shown_with_as_many_digits_as_it_needs(amount_nano: int, text: str) -> None:
    assert show_money(amount_nano) == text


@given(st.text())
def test_any_text_reads_or_is_refused_and_is_not_quoted(text: str) -> None:
    try:
        rule = parse(text)
    except ValueError as error:
        assert "canary" not in str(error)
    else:
        assert parse(show(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "5 canary/day",
        "5 requests/canary",
        "canary",
        "5 tokens/day for canary canary",
        "5.5 requests/day for canary",
    ],
)
def test_a_refusal_does_not_quote(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse(text)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("5 dollars/day", "5 USD/day"),
        ("$5/day", "5 USD/day"),
        ("5$ per day", "5 USD/day"),
        ("€ 1,000.50 a month", None),
        ("$1,000 each month for gpt-*", "1_000 USD/month …"),
        ("5 euro/month per end_user", "5 EUR/month …"),
        ("100,000 tokens per day", "100_000 tokens/day"),
        ("10 Requests/min", "10 requests/minute"),
        ("5 USD/minute", None),
        ("5 bucks/day", None),
        ("5 USD/day per header:authorization", None),
        ("9" * 50 + " usd/day", None),
        ("5 usd/sk-1234567890", None),
    ],
)
def test_a_refusal_names_the_right_writing_where_it_is_known(
    text: str, written: str | None
) -> None:
    with pytest.raises(ValueError) as refused:
        parse(text)
    said = str(refused.value)
    assert said.endswith(f'; write "{written}"') if written else not said.endswith('"')
    assert "1234567890" not in said, "it may be a secret in the wrong place"
