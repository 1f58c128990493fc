"""A month has its neighbours and its end in the zone; what is no month is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.pages.months import MonthAsked, moment, month_of

NOW_MS = int(datetime(2026, 12, 31, 20, 0, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("zone", "asked", "names"),
    [
        ("UTC", None, ("2026-11", "2026-12", "2027-01", True)),
        ("Asia/Shanghai", None, ("2026-12", "2027-01", "2027-02", True)),
        ("UTC", "2026-11", ("2026-10", "2026-11", "2026-12", False)),
        ("UTC", "2999-12", ("2999-11", "2999-12", "3000-01", True)),
    ],
)
def test_the_month_and_those_beside_it(zone: str, asked: str | None, names: object) -> None:
    span, told = month_of(MonthAsked(asked), ZoneInfo(zone), NOW_MS)
    assert tuple(told[name] for name in ("previous", "month", "following", "newest")) == names
    assert span.end_ms is not None and span.start_ms < span.end_ms


@pytest.mark.parametrize("wrong", ["", "2026-13", "1999-12", "2026-1", "20\u0662\u0660-01", "x"])
def test_what_is_no_month_is_refused(wrong: str) -> None:
    with pytest.raises(ProxyError, match="400"):
        month_of(MonthAsked(wrong), ZoneInfo("UTC"), NOW_MS)


def test_a_moment_is_of_the_zone() -> None:
    assert moment(NOW_MS, ZoneInfo("Asia/Shanghai")) == "2027-01-01 04:00:00 CST"
