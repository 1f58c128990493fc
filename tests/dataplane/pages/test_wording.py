"""When a limit is there again, and what to do about a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from proxy.dataplane.pages.wording import advice, resets

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "in less than a minute"),
        (59, "in less than a minute"),
        (60, "in 1 minute"),
        (3599, "in 59 minutes"),
        (5400, "in 90 minutes, on Tuesday 1 December 2026, 21:30 CST"),
        (86_400, "in 24 hours, on Wednesday 2 December 2026, 20:00 CST"),
        (30 * 86_400, "in 30 days, on Thursday 31 December 2026, 20:00 CST"),
    ],
)
def test_when_it_is_there_again(seconds: int, told: str) -> None:
    at = (NOW + timedelta(seconds=seconds)).isoformat()
    assert resets(at, int(NOW.timestamp()) * 1000, ZoneInfo("Asia/Shanghai")) == told


def test_what_never_begins_anew_says_nothing() -> None:
    assert resets(None, 0, UTC) == ""


def test_each_refusal_says_why_and_what_to_do() -> None:
    for code in ("insufficient_quota", "key_suspended", "model_not_allowed", "no_such_code"):
        why, remedy = advice(code)
        assert why.endswith(".") and remedy.endswith(".")
