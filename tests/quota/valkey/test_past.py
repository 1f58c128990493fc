"""Past use as counts of the shared store."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from proxy.core.calendar import Calendar
from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Limit
from proxy.quota import Past
from proxy.quota.valkey.lines import LimitLine
from proxy.quota.valkey.past import past_counts
from tests.quota.worlds import limit, ms

NOW_MS = ms("2026-11-22T12:00")
DAY_MS = 86_400_000


def line_of(rule: Limit) -> LimitLine:
    return LimitLine(rule, Calendar(ZoneInfo("UTC")), {}, 10)


async def counted(*past: Past, values_max: int = 10) -> dict[str, tuple[object, ...]]:
    found = await past_counts(
        past, line_of, since_ms=NOW_MS - DAY_MS, now_ms=NOW_MS, values_max=values_max
    )
    return {name.partition(":")[2]: (lasts_ms > 0, state) for name, lasts_ms, state, _ in found}


async def test_sums_count_in_their_window_while_it_is_open() -> None:
    day, total = limit("100 tokens/day"), limit("100 tokens/total")
    found = await counted(
        Past((day, total), NOW_MS, Used(output_tokens=60)),
        Past((day, total), NOW_MS - 1, Used(output_tokens=41)),
        Past((day, total), NOW_MS - DAY_MS, Used(output_tokens=7)),
    )
    assert found == {
        f"key:alice/tokens/day:{NOW_MS - DAY_MS // 2}": (True, (0, 101, 0, 0, 1_000_000)),
        "key:alice/tokens/total:0": (False, (0, 108, 0, 0, 1_000_000)),
    }


async def test_records_flow_off_a_rate_and_slots_have_no_past() -> None:
    minute, slots = limit("60 requests/minute"), limit("3 concurrent")
    found = await counted(
        *(Past((minute, slots), NOW_MS - age_ms, Used()) for age_ms in (40_000, 500, 0))
    )
    [(name, (_, state))] = found.items()
    assert name == "key:alice/requests/minute"
    assert isinstance(state, tuple) and state[:2] == (0, 60_000 + 60_000 - 500 * 60)


async def test_values_beyond_the_bound_share_one_count() -> None:
    rule = limit("100 tokens/day per end_user")
    found = await counted(
        *(
            Past((rule.of_value(f"u{number % 5}"),), NOW_MS, Used(output_tokens=1))
            for number in range(10)
        ),
        Past((rule.of_value(""),), NOW_MS, Used(output_tokens=9)),
        values_max=3,
    )
    used = sorted(state[1] for _, state in found.values())  # type: ignore[index]
    assert used == [2, 2, 2, 4, 9]
