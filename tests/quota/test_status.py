"""How a limit stands, in words and exact numbers."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.quota.status import standing, taken_ppm

ZONE = ZoneInfo("Asia/Kolkata")


def state(
    rule: str, scope: Scope = Scope.TEAM, scope_id: str = "research", **numbers: int
) -> LimitState:
    made = limit_of(parse(rule), scope, scope_id)
    return LimitState(limit=made, **({"amount": made.amount, "used": 0, "remaining": 0} | numbers))


def test_money_is_an_exact_decimal_and_times_have_the_zone() -> None:
    found = standing(
        state(
            "500 USD/month for gpt-*",
            used=1,
            held=2_500_000_000,
            granted=-(10**9),
            resets_at_ms=1_800_000_000_000,
        ),
        ZONE,
    )
    assert (found.amount, found.used, found.held, found.granted, found.unit) == (
        "500",
        "0.000000001",
        "2.50",
        "-1",
        "USD",
    )
    assert (found.rule, found.id, found.scope, found.scope_id) == (
        "500 USD/month for gpt-*",
        "team:research/USD/month/gpt-*",
        "team",
        "research",
    )
    assert found.resets_at == "2027-01-15T13:30:00+05:30"


def test_the_proxy_s_own_belongs_to_nobody_else_and_a_total_does_not_reset() -> None:
    found = standing(state("9 tokens/total", Scope.PROXY, ""), ZONE)
    assert (found.scope_id, found.resets_at, found.amount, found.unit) == (None, None, 9, "tokens")


@pytest.mark.parametrize(
    ("rule", "numbers", "taken"),
    [
        ("10 tokens/day", {"used": 4, "held": 4}, 800_000),
        (
            "10 tokens/minute",
            {"used": 8, "held": 4},
            800_000,
        ),  # of a rate, what is held is part of what is used
        ("10 tokens/day", {"used": 25}, 2_500_000),
        ("10 tokens/day", {"used": 5, "granted": 10}, 250_000),
        ("0 tokens/day", {}, 1_000_000),
        ("10 tokens/day", {"granted": -10}, 1_000_000),
    ],
)
def test_what_is_taken_of_it(rule: str, numbers: dict[str, int], taken: int) -> None:
    assert taken_ppm(state(rule, **numbers)) == taken
    assert standing(state(rule, **numbers), ZONE).taken == taken / 1_000_000
