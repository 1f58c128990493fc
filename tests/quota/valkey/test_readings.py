"""What the script answers of a count, as states and refusals."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.core.calendar import Calendar
from proxy.quota.valkey.lines import LimitLine
from proxy.quota.valkey.readings import Reading, reached_ppm
from tests.quota.worlds import limit, ms

NOW_MS = ms("2026-11-22T12:00")


def reading(text: str, told: list[int] | None, at_ms: int = 0, enforce: str = "finish") -> Reading:
    line = LimitLine(limit(text, enforce), Calendar(ZoneInfo("UTC")), {}, 10)
    raw = None if told is None else msgspec.msgpack.encode(told)
    return Reading(line, line.span_of(NOW_MS, NOW_MS), raw, at_ms, NOW_MS, line.limit)


def test_a_budget() -> None:
    here = reading("100 tokens/day", [0, 30, 0, 50, 800_000])
    state = here.state()
    assert (state.used, state.held, state.remaining, here.told_ppm) == (30, 50, 20, 800_000)
    assert here.lets_through(999) and here.tightness == (20, 100)
    over = reading("100 tokens/day", [1, 0, 0, 0, 0]).refusal(1)
    assert (over.retry_after_ms, over.never, over.by_holds) == (None, False, False)
    held = reading("100 tokens/day", [0, 30, 0, 70, 0]).refusal(1)
    assert (held.retry_after_ms, held.by_holds) == (1000, True)
    assert reading("100 tokens/day", None, enforce="strict").refusal(101).never


def test_a_rate_flows_until_the_answer() -> None:
    told = [0, 240_000, 1000, 0, 60, 0, 0, 5, 0, 0, 0, 0]
    state = reading("60 tokens/minute", told, at_ms=2000).state()
    assert (state.used, state.remaining, state.resets_at_ms) == (3, 57, NOW_MS + 3000)
    assert reading("60 tokens/minute", told, at_ms=500).state().used == 4, "never back"
    full = [0, 3_600_001, 0, 0, 60, 0, 0, 5, 0, 0, 0, 0]
    assert reading("60 tokens/minute", full).refusal(9).retry_after_ms == 1
    assert reading("60 requests/minute", full).refusal(1).retry_after_ms == 1001
    assert reading("0 tokens/minute", None).refusal(1).never


def test_slots() -> None:
    here = reading("3 concurrent", [0, 0, 0, 3, 0])
    assert (here.state().used, here.state().remaining) == (3, 0)
    assert (here.refusal(1).retry_after_ms, here.refusal(1).never) == (1000, False)
    assert reading("0 concurrent", None).refusal(1).never


@pytest.mark.parametrize(
    ("used", "room", "found"), [(0, 100, 0), (80, 100, 800_000), (100, 100, 1_000_000), (5, 0, 0)]
)
def test_the_highest_share_that_is_reached(used: int, room: int, found: int) -> None:
    assert reached_ppm(limit("100 tokens/day", warn_at_ppm=(800_000,)), used, room) == found
