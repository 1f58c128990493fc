"""Dates as people type and read them, in a report's time zone."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

# That a date may name: a zone's offset or a month more, and Python's calendar would end.
YEARS = range(2, 9999)
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def moment(text: str, zone: tzinfo) -> datetime:
    """A day (its midnight in `zone`) or an ISO time, in `zone` unless it states an offset.

    Raises ValueError with a sentence that says what to write.
    """
    try:
        read = datetime.fromisoformat(text)
        if read.year not in YEARS:
            raise ValueError(f"the years are {YEARS[0]} to {YEARS[-1]}")
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no date: write 2026-11-01, 2026-11-01T12:00 or 2026-11-01T12:00+08:00."
        ) from error
    return read.replace(tzinfo=zone) if read.tzinfo is None else read.astimezone(zone)


def month(text: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """From the first midnight of a month, written 2026-11, to the next month's.

    Raises ValueError with a sentence that says what to write.
    """
    match = _MONTH.fullmatch(text)
    if match is None or int(match[1]) not in YEARS:
        raise ValueError(f"{text!r} is no month: write 2026-11.")
    year, number = int(match[1]), int(match[2])
    return datetime(year, number, 1, tzinfo=zone), datetime(
        year + number // 12, number % 12 + 1, 1, tzinfo=zone
    )


def unix_ms(moment: datetime) -> int:
    """Unix milliseconds."""
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError with a sentence that says what to write."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        like = _zone_like(name)
        written = "UTC or Asia/Shanghai" if like is None else like
        raise ValueError(f"there is no zone {name[:80]!r}: write {written}") from error


def _zone_like(name: str) -> str | None:
    """The zone that somebody meant who wrote its city alone, or in small letters."""
    city = name.rpartition("/")[2].strip().replace(" ", "_").casefold()
    alike = (one for one in available_timezones() if one.rpartition("/")[2].casefold() == city)
    return min(alike, default=None)


def local(ms: int, zone: tzinfo) -> datetime:
    """Unix milliseconds as a moment in the zone, to the second."""
    return datetime.fromtimestamp(ms // 1000, zone)


def range_ms(start: datetime | None, end: datetime | None) -> tuple[int | None, int | None]:
    """Both ends of a half-open range in Unix milliseconds; None stays open."""
    return None if start is None else unix_ms(start), None if end is None else unix_ms(end)


def described(start: datetime | None, end: datetime | None, zone: tzinfo) -> str:
    """The half-open range as the head of a report names it."""
    if start is None and end is None:
        return f"of all time ({zone})"
    since = "the beginning" if start is None else start.isoformat(sep=" ", timespec="minutes")
    until = "now on" if end is None else end.isoformat(sep=" ", timespec="minutes")
    return f"from {since} to {until}, the end not included ({zone})"
