"""Names that are legal here, and budgets as limits that are never looser."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.config.values import KINDS
from proxy.core.limits.language import parse
from proxy.tenants.other_gateways.plan import Money, budget, legal_name


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("alice", "alice"), ("alice@example.com", "alice@example.com"), ("R&D  team", "R-D-team"), ("_x_", "x"),
        ("--", ""), ("fwd-1", "key-fwd-1"), ("默认", "默认"), ("a" * 80, "a" * 64), ("a\nb\x00", "a-b"), ("..", ""),
    ],
)  # fmt: skip
def test_the_nearest_legal_name(there: str, here: str) -> None:
    assert legal_name(there) == here
    if here:
        KINDS["name"].parse(here)


@pytest.mark.parametrize(
    "duration", [None, "1d", "45m", "2 weeks", "30days", "1 month", "1y", "Monthly", "400d"]
)
def test_a_budget_becomes_a_limit_that_is_no_looser(duration: str | None) -> None:
    limit, note = budget(Decimal("1.2345678919"), duration, Money())
    rule = parse(limit)
    assert rule.amount == 1_234_567_891
    assert (note is None) == (duration in (None, "1d", "30days", "1 month", "Monthly"))
