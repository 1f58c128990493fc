"""Half-open ranges of time from what is typed."""

from zoneinfo import ZoneInfo

import click
import pytest

from proxy.cli import time_range
from proxy.core import dates

SHANGHAI, BERLIN, UTC = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def shown(*moments):
    return tuple(moment if moment is None else moment.isoformat() for moment in moments)


@pytest.mark.parametrize(
    ("from_", "to", "month", "zone", "expected"),
    [
        (None, None, None, UTC, (None, None)),
        ("2026-11-01", None, None, SHANGHAI, ("2026-11-01T00:00:00+08:00", None)),
        (None, "2026-11-01T12:30", None, SHANGHAI, (None, "2026-11-01T12:30:00+08:00")),
        (
            "2026-11-01T00:00+00:00",
            "2026-11-02T00:00Z",
            None,
            SHANGHAI,
            ("2026-11-01T08:00:00+08:00", "2026-11-02T08:00:00+08:00"),
        ),
        (None, None, "2026-11", UTC, ("2026-11-01T00:00:00+00:00", "2026-12-01T00:00:00+00:00")),
        (
            None,
            None,
            "2026-12",
            SHANGHAI,
            ("2026-12-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00"),
        ),
        # March begins in winter time and ends in summer time.
        (None, None, "2026-03", BERLIN, ("2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00")),
        (None, None, "2028-02", UTC, ("2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00")),
    ],
)
def test_ranges(from_, to, month, zone, expected):
    assert shown(*time_range.parse(from_, to, month, zone)) == expected


@pytest.mark.parametrize(
    ("from_", "to", "month", "message"),
    [
        ("yesterday", None, None, "'yesterday' is no date"),
        (None, "2026-13-01", None, "'2026-13-01' is no date"),
        (None, None, "2026-13", "'2026-13' is no month"),
        (None, None, "2026-1", "'2026-1' is no month"),
        (None, None, "0000-01", "'0000-01' is no month"),
        # Python's calendar ends there, and some zone's clock is a day ahead.
        (None, None, "0001-01", "'0001-01' is no month"),
        (None, None, "9999-12", "'9999-12' is no month"),
        ("0001-01-01T00:00+14:00", None, None, "is no date"),
        (None, "9999-12-31", None, "is no date"),
        ("2026-11-01", None, "2026-11", "--month goes without --from and --to"),
        ("2026-11-02", "2026-11-01", None, "not after its start"),
        ("2026-11-01", "2026-11-01", None, "not after its start"),
    ],
)
def test_wrong_ranges_are_usage_errors(from_, to, month, message):
    with pytest.raises(click.UsageError) as raised:
        time_range.parse(from_, to, month, UTC)
    assert message in raised.value.format_message()


def test_a_range_within_the_hour_that_occurs_twice():
    early, late = "2026-10-25T02:30+02:00", "2026-10-25T02:15+01:00"
    start, end = time_range.parse(early, late, None, BERLIN)
    assert dates.unix_ms(end) - dates.unix_ms(start) == 45 * 60_000
    with pytest.raises(click.UsageError, match="not after its start"):
        time_range.parse(late, early, None, BERLIN)
