"""Notices of keys, prices, the ledger and vendors' refusals of the operator's key."""

from __future__ import annotations

from datetime import UTC

from proxy.core.notices.health import (
    DAY_MS,
    credential_rejected,
    key_expiring,
    ledger_behind,
    unpriced_model,
)
from proxy.core.notices.notice import Notice

ENDS_MS = 1_800_000_000_000


def expiring(left_ms: int) -> Notice | None:
    return key_expiring("alice", "research", ENDS_MS, UTC, ENDS_MS - left_ms)


def test_a_key_is_told_a_week_and_a_day_before_it_expires() -> None:
    assert expiring(7 * DAY_MS + 1) is None
    week, last, day = expiring(7 * DAY_MS), expiring(DAY_MS + 1), expiring(DAY_MS)
    assert week is not None and last is not None and day is not None
    assert week.subject == last.subject != day.subject
    assert week.title == "The key alice expires in less than 7 days."
    assert day.title == "The key alice expires in less than a day."
    assert day.team == "research" and day.until_ms == ENDS_MS
    assert expiring(0) is None and expiring(-5) is None


def test_a_key_that_was_prolonged_is_told_anew() -> None:
    later = key_expiring("alice", None, ENDS_MS + DAY_MS, UTC, ENDS_MS)
    first = expiring(DAY_MS)
    assert later is not None and first is not None and later.subject != first.subject


def test_a_model_without_a_price_is_told_once_a_month() -> None:
    one = unpriced_model("modelmax", "qwen-9", 100, 7)
    assert one.title.startswith("The model qwen-9 of modelmax is used, and its requests are booked")
    assert one.until_ms == 100 and one.team is None
    assert one.subject != unpriced_model("modelmax", "qwen-9", 200, 7).subject
    assert unpriced_model("", "", 100, 7).title.startswith("A model is used")


def test_a_ledger_that_is_behind_says_that_nothing_is_lost() -> None:
    one = ledger_behind(90, 1234, 1_000_000)
    assert one.title == "The ledger is behind: a record has waited 90 s to be booked."
    assert ("Waiting", "1234 records") in one.facts
    assert one.data == {"lag_s": 90, "backlog_records": 1234}


def test_a_rejected_key_is_told_once_a_day_and_at_once_if_it_is_another() -> None:
    one = credential_rejected("modelmax", "0123456789ab", 100, 7)
    assert one.title == "The upstream modelmax rejects the key that the proxy sends."
    assert one.subject == credential_rejected("modelmax", "0123456789ab", 100, 9).subject
    assert one.subject != credential_rejected("modelmax", "ba9876543210", 100, 7).subject
    assert one.subject != credential_rejected("modelmax", "0123456789ab", 200, 7).subject
