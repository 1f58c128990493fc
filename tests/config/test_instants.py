"""Days and times of a config, as moments."""

from __future__ import annotations

import pytest

from proxy.config.instants import day, instant, instant_ms


def test_days_begin_at_midnight_in_the_zone() -> None:
    assert instant_ms("1970-01-02", "UTC") == 86_400_000
    assert instant_ms("1970-01-02", "Asia/Shanghai") == 86_400_000 - 8 * 3_600_000
    assert instant_ms("1970-01-02T00:00+01:00", "Asia/Shanghai") == 86_400_000 - 3_600_000
    assert (
        instant_ms("2026-03-29T12:00", "Europe/Berlin") - instant_ms("2026-03-29", "Europe/Berlin")
        == 11 * 3_600_000
    )


@pytest.mark.parametrize("read", [day, instant])
def test_a_day_that_the_calendar_lacks_is_refused_without_quoting_it(read) -> None:
    with pytest.raises(ValueError, match=r"^no such day or time in the calendar$"):
        read("2026-02-30")
