"""What a request takes of each limit and whether it may: every unit and every mode, in figures."""

from __future__ import annotations

import pytest

from proxy.core.limits.decisions import (
    INDEX,
    Demand,
    Used,
    bounds,
    counts,
    expected,
    fits,
    is_exact,
    may_grow,
    not_boundable,
    not_priced,
)
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of

ASK = Demand(
    exchange_id="x",
    started_at_ms=0,
    input_tokens=100,
    output_tokens=20,
    charge_nano=7,
    input_bound=400,
    output_bound=1000,
    charge_bound_nano=90,
)
UNBOUND = Demand(exchange_id="x", started_at_ms=0, input_tokens=100, output_tokens=20)


def limit(text: str, enforce: str = "finish") -> Limit:
    return limit_of(parse(text), Scope.KEY, "alice", enforce=Enforce(enforce))


# rule                     expected  at most  used (90 in, 15 out, 6 nano)
TAKES = """
5 requests/day             1         1        1
5 tokens/day               120       1400     105
5 input_tokens/day         100       400      90
5 output_tokens/day        20        1000     15
5 concurrent               1         1        0
5 USD/day                  7         90       6
"""


@pytest.mark.parametrize("line", TAKES.strip().splitlines())
def test_what_a_request_takes(line: str) -> None:
    amount, rule, likely, at_most, used = line.split()
    place = INDEX[limit(f"{amount} {rule}").unit]
    assert expected(ASK)[place] == int(likely)
    assert bounds(ASK)[place] == int(at_most)
    assert counts(Used(input_tokens=90, output_tokens=15, charge_nano=6))[place] == int(used)


def test_what_is_not_known_counts_nothing() -> None:
    assert counts(Used()) == (1, 0, 0, 0, 0, 0)
    assert counts(Used(input_tokens=3)) == (1, 3, 3, 0, 0, 0)
    assert counts(Used(output_tokens=3)) == (1, 3, 0, 3, 0, 0)
    assert expected(UNBOUND) == (1, 120, 100, 20, 1, 0)


# limit of 100; taken + what it takes, by mode: is it let through, may a running stream grow by it
# taken  takes   finish cut strict warn    grows: finish cut strict warn
MODES = """
0        1       yes yes yes yes           yes yes yes yes
0        100     yes yes yes yes           yes yes yes yes
0        64000   yes yes no  yes           yes no  no  yes
99       1       yes yes yes yes           yes yes yes yes
99       2       yes yes no  yes           yes no  no  yes
100      0       no  no  yes no            yes yes yes yes
100      1       no  no  no  no            yes no  no  yes
150      1       no  no  no  no            yes no  no  yes
"""


@pytest.mark.parametrize("line", MODES.strip().splitlines())
def test_the_four_modes(line: str) -> None:
    taken, takes, *answers = line.split()
    limits = [limit("100 tokens/day", mode) for mode in ("finish", "cut", "strict", "warn")]
    let_through = [
        fits(is_exact(one), int(takes), 100 - int(taken)) for one in limits
    ]  # of `warn`: whether it is told
    grows = [may_grow(one, int(takes), 100 - int(taken)) for one in limits]
    assert let_through + grows == [answer == "yes" for answer in answers]


@pytest.mark.parametrize("text", ["3 requests/day", "3 requests/second", "3 concurrent"])
@pytest.mark.parametrize("mode", ["warn", "finish", "cut", "strict"])
def test_requests_and_slots_are_known_exactly(text: str, mode: str) -> None:
    exact = is_exact(limit(text, mode))
    assert [fits(exact, 1, left) for left in (3, 1, 0, -1)] == [True, True, False, False]
    # In a rate, part of a request has leaked away: what is left of the limit is then less than one.
    assert not fits(exact, 1000, 500)


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    for text in ("0 requests/day", "0 tokens/day", "0 concurrent", "0 USD/total"):
        for mode in ("finish", "cut", "strict"):
            one = limit(text, mode)
            assert not fits(is_exact(one), 1, one.amount)


# a strict limit on …       and the bounds known           can be bounded
BOUNDS = """
tokens                      in out money                   yes
tokens                      in -   money                   no
tokens                      -  out money                   no
input_tokens                in -   -                       yes
input_tokens                -  out money                   no
output_tokens               -  out -                       yes
output_tokens               in -   money                   no
USD                         -  -   money                   yes
USD                         in out -                       no
requests                    -  -   -                       yes
"""


@pytest.mark.parametrize("line", BOUNDS.strip().splitlines())
def test_which_requests_a_strict_limit_can_bound(line: str) -> None:
    unit, first, second, third, boundable = line.split()
    bounds = {
        "input_bound": None if first == "-" else 9,
        "output_bound": None if second == "-" else 9,
        "charge_bound_nano": None if third == "-" else 9,
    }
    ask = Demand(exchange_id="x", started_at_ms=0, charge_nano=1, **bounds)
    lenient, strict = limit(f"5 {unit}/day"), limit(f"5 {unit}/day", "strict")
    assert not_boundable([lenient, strict], ask) == (None if boundable == "yes" else strict)
    assert not_boundable([lenient], ask) is None


def test_a_money_limit_that_refuses_needs_a_price() -> None:
    money, told, tokens = limit("5 USD/day"), limit("5 USD/day", "warn"), limit("5 tokens/day")
    assert not_priced([tokens, told, money], UNBOUND) == money
    assert not_priced([tokens, told], UNBOUND) is None
    assert not_priced([money], ASK) is None
