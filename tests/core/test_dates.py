"""Dates as they are typed, and as reports name them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.core.dates import described, moment, range_ms, unix_ms, zone

SHANGHAI, BERLIN, UTC = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-01", SHANGHAI, "2026-11-01T00:00:00+08:00"),
        ("2026-11-01T12:00", SHANGHAI, "2026-11-01T12:00:00+08:00"),
        ("2026-11-01T12:00Z", SHANGHAI, "2026-11-01T20:00:00+08:00"),
        ("0002-01-01", UTC, "0002-01-01T00:00:00+00:00"),
    ],
)
def test_a_moment_is_of_the_zone(text: str, zone: ZoneInfo, expected: str) -> None:
    assert moment(text, zone).isoformat() == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "0001-01-01", "9999-12-31"])
def test_what_is_no_date_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date: write 2026-11-01, ") as raised:
        moment(text, UTC)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("UTC+1", "UTC or Asia/Shanghai"),
        ("", "UTC or Asia/Shanghai"),
        ("../etc/passwd", "UTC or Asia/Shanghai"),
    ],
)
def test_a_zone_that_is_not_known_says_which_is_meant(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match="there is no zone") as raised:
        zone(name)
    assert str(raised.value) == f"there is no zone {name!r}: write {meant}"


def test_milliseconds_are_exact_also_in_an_hour_that_occurs_twice() -> None:
    assert unix_ms(moment("1970-01-01T00:00:00.001", UTC)) == 1
    early, late = (moment(f"2026-10-25T02:30{offset}", BERLIN) for offset in ("+02:00", "+01:00"))
    assert unix_ms(late) - unix_ms(early) == 3_600_000
    assert range_ms(None, None) == (None, None)
    assert range_ms(early, late) == (unix_ms(early), unix_ms(early) + 3_600_000)


def test_a_range_as_reports_name_it() -> None:
    start, end = moment("2026-11-01", SHANGHAI), moment("2026-12-01", SHANGHAI)
    assert described(None, None, SHANGHAI) == "of all time (Asia/Shanghai)"
    assert described(start, None, SHANGHAI) == (
        "from 2026-11-01 00:00+08:00 to now on, the end not included (Asia/Shanghai)"
    )
    assert described(None, end, SHANGHAI) == (
        "from the beginning to 2026-12-01 00:00+08:00, the end not included (Asia/Shanghai)"
    )
