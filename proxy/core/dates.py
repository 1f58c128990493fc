"""Dates as people type and read them, in a report's time zone."""

from __future__ import annotations

from datetime import datetime, tzinfo

# That a date may name: a zone's offset or a month more, and Python's calendar would end.
YEARS = range(2, 9999)


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


def unix_ms(moment: datetime) -> int:
    """Unix milliseconds."""
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


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
