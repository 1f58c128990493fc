"""What the script is told of a limit."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Limit
from proxy.quota.valkey.lines import KEPT_MS, LimitLine, number, pair, sendable, used_pairs
from tests.quota.worlds import limit, ms

DAY_MS = 86_400_000
NOON_MS = ms("2026-11-22T12:00")


def line(rule: Limit, *credits: Credit) -> LimitLine:
    by_limit = {rule.id: {credit.id: credit for credit in credits}}
    return LimitLine(rule, Calendar(ZoneInfo("UTC")), by_limit, 10)


@pytest.mark.parametrize("told", [0, 1, -1, 10**9 - 1, -(10**9), 2**53 + 1, 2**62 - 1, 10**24 + 1])
def test_a_pair_is_its_number(told: int) -> None:
    high, low = pair(told)
    assert 0 <= low < 10**9 and number(high, low) == told


def test_a_budget_has_a_name_for_each_window() -> None:
    here = line(limit("100 tokens/day"))
    today = here.span_of(NOON_MS, NOON_MS)
    assert today.name == f"B:key:alice/tokens/day:{NOON_MS - DAY_MS // 2}"
    assert today.lasts_ms(NOON_MS) == DAY_MS // 2 + KEPT_MS
    before = here.span_of(NOON_MS - DAY_MS, NOON_MS)
    assert before.name.endswith(f":{NOON_MS - DAY_MS // 2 - DAY_MS}")
    assert before.lasts_ms(NOON_MS) == KEPT_MS
    assert here.span_of(NOON_MS, NOON_MS) is today, "two windows are remembered"
    total = line(limit("100 tokens/total")).span_of(NOON_MS, NOON_MS)
    assert total.lasts_ms(NOON_MS) == 0, "it is kept for ever"


def test_a_rate_and_slots_have_one_name() -> None:
    for text, name, room in (
        ("7 requests/minute", "R:key:alice/requests/minute", 7 * 60_000),
        ("3 concurrent", "S:key:alice/concurrent", 3),
    ):
        here = line(limit(text))
        span = here.span_of(NOON_MS, NOON_MS)
        assert (span.name, span.room) == (name, room)
        assert here.span_of(0, NOON_MS) is span
    assert line(limit("7 requests/minute", burst=2)).span_of(0, 0).room == 2 * 60_000


def test_the_room_follows_the_amount_and_credits() -> None:
    rule = limit("100 tokens/day")
    until_ms = NOON_MS + 1000
    here = line(rule, Credit("a", rule.id, 50, NOON_MS), Credit("b", rule.id, 7, NOON_MS, until_ms))
    span = here.span_of(NOON_MS, NOON_MS)
    assert (span.room, here.raised) == (157, False)
    assert here.span_of(NOON_MS, until_ms).room == 150
    here.bind(limit("300 tokens/day"))
    assert (here.span_of(NOON_MS, until_ms).room, here.raised) == (350, True)


def test_a_value_knows_the_count_of_all_others() -> None:
    rule = limit("100 tokens/day per end_user")
    span = line(rule.of_value("u1")).span_of(NOON_MS, NOON_MS)
    start = NOON_MS - DAY_MS // 2
    each = "B:key:alice/tokens/day/per:end_user"
    assert span.name == f"{each}\x1fu1:{start}"
    assert span.apart == (f"V{each}:{start}", 10, f"{each}\x1f\n:{start}")
    for value in ("", "\n"):
        assert line(rule.of_value(value)).span_of(NOON_MS, NOON_MS).apart is None


def test_what_is_asked_is_plain_msgpack() -> None:
    here = line(limit("7 tokens/minute", "strict"))
    span = here.span_of(NOON_MS, NOON_MS)
    asking = here.asking(span, 5, NOON_MS)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asking)) == [
        "R", span.name, True, False, 0, 420_000, 0, 300_000, KEPT_MS if span.end_ms < 2**99 else 0,
        2, False, 0, 7, 60_000,
    ]  # fmt: skip


def test_amounts_beyond_all_reason_are_bounded() -> None:
    used = Used(output_tokens=10**30, charge_nano=10**30)
    assert [number(*each) for each in used_pairs(used)] == [1, 10**18, 0, 10**18, 0, 10**24]


def test_any_name_can_be_sent() -> None:
    for text in ("a", "用户", "\ud800x", "\udfff"):
        sendable(text).encode()
    assert sendable("用户") == "用户"
