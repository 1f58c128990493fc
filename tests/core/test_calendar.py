"""Days, weeks and months of a zone: a table that a calendar can check, and every zone against a
slow reading of its clocks."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from proxy.core.calendar import TOTAL, Calendar, Per, window

# zone                  at (local time)                   per    start (UTC)           end (UTC)
# hours
TABLE = """
UTC                     2026-11-22T12:00:00+00:00         day    2026-11-22T00:00      2026-11-23T00:00       24
UTC                     2026-11-22T12:00:00+00:00         week   2026-11-16T00:00      2026-11-23T00:00       168
UTC                     2026-11-23T00:00:00+00:00         week   2026-11-23T00:00      2026-11-30T00:00       168
UTC                     2026-11-22T12:00:00+00:00         month  2026-11-01T00:00      2026-12-01T00:00       720
UTC                     2026-12-31T23:59:59.999+00:00     month  2026-12-01T00:00      2027-01-01T00:00       744

Asia/Kolkata            2026-11-22T00:00:00+05:30         day    2026-11-21T18:30      2026-11-22T18:30       24
Asia/Kolkata            2026-11-21T23:59:59.999+05:30     day    2026-11-20T18:30      2026-11-21T18:30       24
Asia/Kolkata            2026-11-22T12:00:00+05:30         month  2026-10-31T18:30      2026-11-30T18:30       720
Asia/Kathmandu          2026-11-22T12:00:00+05:45         day    2026-11-21T18:15      2026-11-22T18:15       24

Australia/Lord_Howe     2026-04-05T12:00:00+10:30         day    2026-04-04T13:00      2026-04-05T13:30       24.5
Australia/Lord_Howe     2026-10-04T12:00:00+11:00         day    2026-10-03T13:30      2026-10-04T13:00       23.5
Australia/Lord_Howe     2026-10-04T01:59:59+10:30         day    2026-10-03T13:30      2026-10-04T13:00       23.5

America/New_York        2026-03-08T12:00:00-04:00         day    2026-03-08T05:00      2026-03-09T04:00       23
America/New_York        2026-11-01T12:00:00-05:00         day    2026-11-01T04:00      2026-11-02T05:00       25
America/New_York        2026-11-01T01:30:00-04:00         day    2026-11-01T04:00      2026-11-02T05:00       25
America/New_York        2026-11-01T01:30:00-05:00         day    2026-11-01T04:00      2026-11-02T05:00       25
America/New_York        2026-03-11T12:00:00-04:00         week   2026-03-09T04:00      2026-03-16T04:00       168
America/New_York        2026-03-08T12:00:00-04:00         week   2026-03-02T05:00      2026-03-09T04:00       167
America/New_York        2026-11-01T12:00:00-05:00         month  2026-11-01T04:00      2026-12-01T05:00       721

Europe/Berlin           2028-02-29T12:00:00+01:00         day    2028-02-28T23:00      2028-02-29T23:00       24
Europe/Berlin           2028-02-10T12:00:00+01:00         month  2028-01-31T23:00      2028-02-29T23:00       696
Europe/Berlin           2027-02-10T12:00:00+01:00         month  2027-01-31T23:00      2027-02-28T23:00       672

America/Havana          2026-03-08T01:00:00-04:00         day    2026-03-08T05:00      2026-03-09T04:00       23
America/Havana          2026-11-01T00:30:00-04:00         day    2026-11-01T04:00      2026-11-02T05:00       25
America/Havana          2026-11-01T00:30:00-05:00         day    2026-11-01T04:00      2026-11-02T05:00       25
America/St_Johns        2010-11-06T23:30:00-03:30         day    2010-11-07T02:30      2010-11-08T03:30       25
Pacific/Apia            2011-12-31T00:00:00+14:00         day    2011-12-30T10:00      2011-12-31T10:00       24
Pacific/Apia            2011-12-29T23:59:59-10:00         day    2011-12-29T10:00      2011-12-30T10:00       24
"""
ODD_ZONES = (
    "America/Nuuk",
    "America/Scoresbysund",
    "America/St_Johns",
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/New_York",
    "Antarctica/Troll",
    "Asia/Tehran",
    "America/Asuncion",
    "Africa/Casablanca",
    "America/Toronto",
)


def ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return (
        moment.replace(tzinfo=moment.tzinfo if moment.tzinfo is not None else UTC)
        - datetime(1970, 1, 1, tzinfo=UTC)
    ) // timedelta(milliseconds=1)


@pytest.mark.parametrize("line", [line for line in TABLE.splitlines() if line])
def test_the_calendar(line: str) -> None:
    zone, at, per, start, end, hours = line.split()
    found = window(Per(per), ms(at), ZoneInfo(zone))
    assert (found.start_ms, found.end_ms) == (ms(start), ms(end))
    assert (ms(end) - ms(start)) / 3_600_000 == float(hours)


def slow_day(at_s: int, zone: ZoneInfo) -> tuple[int, int]:
    """[start, end) by looking at the clock each minute: a day begins when its date is shown first
    and ends when a later one is."""
    latest, start_s, today = date.min, 0, None
    for minute_s in range(at_s - at_s % 60 - 3 * 86_400, at_s + 3 * 86_400, 60):
        shown = datetime.fromtimestamp(minute_s, zone).date()
        if today is None and minute_s > at_s:
            today = latest
        if shown > latest:
            if today is not None:
                return start_s, minute_s
            latest, start_s = shown, minute_s
    raise AssertionError("no day is that long")


@pytest.mark.parametrize("name", ODD_ZONES)
def test_days_against_a_slow_reading_of_the_clock(name: str) -> None:
    zone, dice = ZoneInfo(name), random.Random(name)
    for year in dice.sample(range(1990, 2030), 6):
        year_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
        # Two moments near clock changes, if the year has any, and one anywhere.
        offsets = [
            datetime.fromtimestamp(year_s + hour * 3600, zone).utcoffset()
            for hour in range(0, 8760, 6)
        ]
        changes = [
            hour * 6 for hour in range(1, len(offsets)) if offsets[hour] != offsets[hour - 1]
        ]
        for hour in [*changes[:2], dice.randrange(8000)]:
            at_s = year_s + hour * 3600 + dice.randrange(-40_000, 40_000)
            found = window(Per.DAY, at_s * 1000 + dice.randrange(1000), zone)
            assert (found.start_ms, found.end_ms) == tuple(
                second * 1000 for second in slow_day(at_s, zone)
            ), (name, at_s)


@pytest.mark.parametrize("per", [Per.DAY, Per.WEEK, Per.MONTH])
@pytest.mark.parametrize("name", ODD_ZONES)
def test_each_moment_lies_in_one_window_and_windows_meet(name: str, per: Per) -> None:
    zone, dice = ZoneInfo(name), random.Random(name)
    for _ in range(40):
        at_ms = dice.randrange(ms("1985-01-01"), ms("2035-01-01"))
        found = window(per, at_ms, zone)
        assert found.end_ms is not None
        assert found.start_ms <= at_ms < found.end_ms
        assert window(per, found.start_ms, zone) == window(per, found.end_ms - 1, zone) == found
        assert window(per, found.end_ms, zone).start_ms == found.end_ms
        assert window(per, found.start_ms - 1, zone).end_ms == found.start_ms


def test_a_total_never_ends() -> None:
    assert window(Per.TOTAL, ms("2026-11-22"), ZoneInfo("UTC")) == TOTAL
    assert (TOTAL.start_ms, TOTAL.end_ms) == (0, None)


def test_a_calendar_says_the_same_and_remembers() -> None:
    zone, dice = ZoneInfo("Australia/Lord_Howe"), random.Random(7)
    calendar, at_ms = Calendar(zone), ms("2026-03-30")
    for _ in range(600):
        at_ms += dice.choice((-90_000_000, -1000, 0, 7_000_000, 40_000_000))
        for per in (Per.DAY, Per.WEEK, Per.MONTH, Per.TOTAL):
            found = calendar.window(per, at_ms)
            assert found == window(per, at_ms, zone)
            assert calendar.window(per, at_ms) is found
    assert calendar.window(Per.TOTAL, 10**13) == TOTAL
