"""Times as files write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.core.calendar import Calendar
from proxy.core.reconciling.moments import Width, period, when

BERLIN = ZoneInfo("Europe/Berlin")
SHANGHAI = ZoneInfo("Asia/Shanghai")
READ = [
    ("1793491200", "2026-11-01T00:00:00", Width.MOMENT), ("1793491200.0", "2026-11-01T00:00:00", Width.MOMENT),
    ("1793491200123", "2026-11-01T00:00:00.123", Width.MOMENT), ("1793491200123456", "2026-11-01T00:00:00.123", Width.MOMENT),
    ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00", Width.MOMENT), ("2026-11-01T00:00:00.123456789+00:00", "2026-11-01T00:00:00.123", Width.MOMENT),
    ("2026-11-01 10:00:00 +0000 UTC", "2026-11-01T10:00:00", Width.MOMENT), ("2026-11-01 03:46:57.713", "2026-10-31T19:46:57.713", Width.MOMENT),
    ("20261101", "2026-10-31T16:00:00", Width.DAY), ("2026-11-01", "2026-10-31T16:00:00", Width.DAY), ("2026/11/1", "2026-10-31T16:00:00", Width.DAY),
    ("2026年11月1日", "2026-10-31T16:00:00", Width.DAY), ("2026-11", "2026-10-31T16:00:00", Width.MONTH), ("202611", "2026-10-31T16:00:00", Width.MONTH), ("2026年11月", "2026-10-31T16:00:00", Width.MONTH),
    ("2026-10-31 24:00:00", "2026-10-31T16:00:00", Width.MOMENT), ("2026/11/1 8:05", "2026-11-01T00:05:00", Width.MOMENT), ("20261101080500", "2026-11-01T00:05:00", Width.MOMENT),
    ("1793491200.5", "2026-11-01T00:00:00.5", Width.MOMENT), ("20261101T080500Z", "2026-11-01T08:05:00", Width.MOMENT), ("2026-11-01T08+08", "2026-11-01T00:00:00", Width.HOUR), ("2026-11-01 08", "2026-11-01T00:00:00", Width.HOUR), ("2026年11月1日 8时", "2026-11-01T00:00:00", Width.HOUR),
    ("2026-11-01 12:30 AM", "2026-10-31T16:30:00", Width.MOMENT), ("2026-11-01 12:30:00 pm", "2026-11-01T04:30:00", Width.MOMENT), ("2026-11-01 08:00:00 CST", "2026-11-01T00:00:00", Width.MOMENT),
    ("01.11.2026", "2026-10-31T16:00:00", Width.DAY), ("1-Nov-2026", "2026-10-31T16:00:00", Width.DAY), ("November 1, 2026 08:00", "2026-11-01T00:00:00", Width.MOMENT), ("Sun, 01 Nov 2026 08:00:00 GMT", "2026-11-01T08:00:00", Width.MOMENT), ("Nov 2026", "2026-10-31T16:00:00", Width.MONTH),
    ('"2026-11-01"', "2026-10-31T16:00:00", Width.DAY),
]  # fmt: skip


@pytest.mark.parametrize(("text", "utc", "width"), READ)
def test_every_way_to_write_a_time_is_read(text: str, utc: str, width: Width) -> None:
    found = when(text, SHANGHAI)
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert (found.start_ms, found.width) == (round(moment.timestamp() * 1000), width)


@pytest.mark.parametrize(
    "text", ["", "today", "32.11.2026", "31-Foo-2026", "2026-11-01 13:00 PM", "2026-11-01 00:00:00 PST", "45962", "2026-13-01", "2026-02-30", "12345", "99999999", "2026-11-01T25:00"]
)  # fmt: skip
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        when(text, SHANGHAI)


def test_a_period_is_that_of_the_zone() -> None:
    at_ms = when("2026-11-01T03:30:00+08:00", SHANGHAI).start_ms
    starts = {
        width: datetime.fromtimestamp(period(at_ms, width, Calendar(SHANGHAI))[0] // 1000, SHANGHAI)
        for width in (Width.HOUR, Width.DAY, Width.MONTH)
    }
    assert [f"{starts[width]:%m-%d %H:%M}" for width in starts] == [
        "11-01 03:00",
        "11-01 00:00",
        "11-01 00:00",
    ]
    day = period(
        when("2026-10-25T12:00", BERLIN).start_ms,
        Width.DAY,
        Calendar(BERLIN),
    )
    assert day[1] - day[0] == 25 * 3_600_000


def test_a_date_that_may_begin_with_a_day_or_a_month_is_read_as_told() -> None:
    with pytest.raises(ValueError, match=r"may begin with a day or a month: .*`day_first: true`"):
        when("12/11/2026", BERLIN)
    for day_first, date in ((True, "2026-11-12"), (False, "2026-12-11")):
        for text in ("12/11/2026", "12-11-2026 00:00"):
            assert when(text, BERLIN, day_first=day_first).start_ms == when(date, BERLIN).start_ms


def test_a_zones_name_with_two_meanings_is_refused() -> None:
    with pytest.raises(ValueError, match="names CST, which is China's time or America's"):
        when("2026-11-01 08:00:00 CST", UTC)
