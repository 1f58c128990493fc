"""What one request holds, and what a store that does not know of it is told."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from proxy.core.calendar import Calendar
from proxy.core.limits.decisions import Demand
from proxy.quota.valkey.calls import Epoch
from proxy.quota.valkey.lines import LimitLine
from proxy.quota.valkey.reservation import Look, SharedReservation
from tests.quota.worlds import limit, ms

NOW_MS = ms("2026-11-22T12:00")


def reservation(*texts: str, epoch: Epoch | None = None) -> SharedReservation:
    lines = [LimitLine(limit(text), Calendar(ZoneInfo("UTC")), {}, 10) for text in texts]
    spans = [line.span_of(NOW_MS, NOW_MS) for line in lines]
    ask = Demand(exchange_id="x1", started_at_ms=NOW_MS)
    look = Look(lines, spans, [None] * len(lines), (), 0, NOW_MS)
    holds = [5 for _ in lines]
    return SharedReservation(
        ask=ask, look=look, taken=holds, holds=holds, strict=False, exceeded=(), epoch=epoch
    )


def test_it_is_told_as_it_holds() -> None:
    held = reservation("100 tokens/day", "7 tokens/minute", "3 concurrent")
    attempt, lines, used, request, output = held.joining(None)
    assert (attempt, used, request, output) == ("x1", False, "", 0)
    day, minute, slots = lines
    assert day[:6] == ("B", held.look.spans[0].name, 0, 5, 2, 1)
    assert minute[:6] == ("R", "R:key:alice/tokens/minute", 0, 300_000, 2, 60_000)
    assert slots[2:4] == (0, 5)
    held.slots_free = True
    assert held.joining([(0, 1)])[1][2][2:4] == (0, 0)
    assert held.joining([(0, 1)])[2] == [(0, 1)]


def test_the_tightest_is_told_once_the_store_knows_of_it() -> None:
    assert reservation("100 tokens/day").tightest is None
    held = reservation("100 tokens/day", "7 tokens/minute", epoch=Epoch(b"e", b"r"))
    assert held.tightest is not None and held.exchange_id == "x1"
    assert [state.remaining for state in held.look.states()] == [100, 7]
