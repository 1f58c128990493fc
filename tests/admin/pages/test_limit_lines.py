"""A limit's line leads to its owner and to its credits; only a budget takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.admin.pages.limit_lines import credit_line, limit_line, takes_credit
from proxy.core.limits.credit import Credit
from proxy.quota.status import LimitStatus
from tests.admin.pages.looks import look_of
from tests.admin.pages.office import office

STATUS: dict[str, Any] = {
    "id": "team:a/USD/month",
    "rule": "500 USD/month",
    "scope": "team",
    "scope_id": "a",
    "enforce": "finish",
    "unit": "USD",
    "amount": "500",
    "granted": "0",
    "used": "1",
    "held": "0",
    "remaining": "499",
    "taken": 0.002,
    "resets_at": None,
}


@pytest.mark.parametrize(
    ("rule", "takes"),
    [
        ("500 USD/month", True),
        ("5 requests/day for gpt-*", True),
        ("7 tokens/week", True),
        ("9 USD/total", True),
        ("60 requests/minute", False),
        ("8 concurrent", False),
        ("5 requests/hour", False),
    ],
)
def test_only_a_budget_takes_credit(rule: str, takes: bool) -> None:
    assert takes_credit(LimitStatus(**{**STATUS, "rule": rule})) is takes


async def test_lines_lead_to_owner_and_credits(tmp_path: Path) -> None:
    async with office(tmp_path) as admin:
        look = look_of(admin)
        line = limit_line(LimitStatus(**STATUS), look)
        assert (line["owner"], line["page"]) == (
            "/ui/teams/a",
            "/ui/credit?limit=team%3Aa%2FUSD%2Fmonth",
        )
        assert (line["filled"], line["percent"]) == (1, 0)
        whole = LimitStatus(**{**STATUS, "scope": "proxy", "scope_id": None})
        assert limit_line(whole, look)["owner"] is None
        money = credit_line(Credit("c", "l", 2_500_000_000, 0, None, "USD"), look)
        assert (money["amount"], money["until"]) == ("2.50", None)
        count = credit_line(Credit("c", "l", -5, 0, 60_000, "requests"), look)
        assert (count["amount"], count["until"]) == (-5, "1970-01-01 00:01:00 UTC")
