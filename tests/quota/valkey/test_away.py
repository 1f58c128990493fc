"""Requests while the store is away."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Enforce
from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable, SharedOptions
from proxy.quota.memory import MemoryQuota
from proxy.quota.valkey.away import Away
from proxy.quota.valkey.reservation import SharedReservation
from tests.quota.stores import Clock
from tests.quota.valkey.test_reservation import NOW_MS, reservation
from tests.quota.worlds import limit

GONE = QuotaUnavailable("it is gone")


def away(**options: object) -> Away:
    return Away(MemoryQuota(ZoneInfo("UTC"), Clock(NOW_MS)), SharedOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("modes", "away_s", "passes"),
    [
        (("finish", "warn", "cut"), 60.0, True),
        (("finish", "strict"), 0.0, False),
        (("finish",), 60.1, False),
        ((), 0.0, True),
    ],
)
def test_a_request_goes_by_its_strictest_limit(
    modes: tuple[str, ...], away_s: float, passes: bool
) -> None:
    limits = [limit("9 tokens/day", mode) for mode in modes]
    assert away().lets_through(limits, away_s) is passes
    assert not away(counted=frozenset[Enforce]()).lets_through([limit("9 tokens/day")], 0.0)


async def test_slots_and_rates_hold_within_the_process() -> None:
    here, slots, day = away(), limit("1 concurrent"), limit("1 tokens/day")
    texts = ("1 concurrent", "1 tokens/day")
    first = await here.reserve([slots, day], reservation(*texts), 0.0, GONE)
    assert isinstance(first, SharedReservation) and first.epoch is None
    second = await here.reserve([slots, day], reservation(*texts), 0.0, GONE)
    assert isinstance(second, Refused) and second.limit == slots
    assert here.passed == 1
    here.release_slots(first)
    third = await here.reserve([slots, day], reservation(*texts), 0.0, GONE)
    assert isinstance(third, SharedReservation)
    here.settle(first, Used(), NOW_MS)
    here.void(third, NOW_MS)
    here.grant(Credit("a", day.id, 5, NOW_MS), NOW_MS)
    here.forget([slots])
    with pytest.raises(QuotaUnavailable, match="it is gone"):
        await here.reserve([slots], reservation("1 concurrent"), 99.0, GONE)
