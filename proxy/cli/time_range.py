"""The half-open range of time that a report covers, as typed on the command line."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from proxy.ledger.sqlite.spans import YEARS

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def parse(
    from_: str | None, to: str | None, month: str | None, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """(start, end) in `zone`; None is open. Raises a usage error for what cannot be read, or an end
    that is not after the start."""
    if month is None:
        start = None if from_ is None else moment(from_, "--from", zone)
        end = None if to is None else moment(to, "--to", zone)
    elif from_ is None and to is None:
        start, end = calendar_month(month, zone)
    else:
        raise click.UsageError("--month goes without --from and --to.")
    first_ms, end_ms = (
        to_ms(start),
        to_ms(end),
    )  # datetimes of one zone compare by the clock on the wall, which goes back once a year
    if first_ms is not None and end_ms is not None and end_ms <= first_ms:
        raise click.UsageError("the end of the range is not after its start.")
    return start, end


def moment(text: str, option: str, zone: ZoneInfo) -> datetime:
    """A day (its midnight in `zone`) or an ISO time, in `zone` unless it states an offset."""
    try:
        read = datetime.fromisoformat(text)
        if read.year not in YEARS:
            raise ValueError(f"the years are {YEARS[0]} to {YEARS[-1]}")
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no date: write 2026-11-01, 2026-11-01T12:00 or 2026-11-01T12:00+08:00.",
            param_hint=option,
        ) from error
    return read.replace(tzinfo=zone) if read.tzinfo is None else read.astimezone(zone)


def calendar_month(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the first midnight of the month to the next month's."""
    match = _MONTH.fullmatch(text)
    if match is None or int(match[1]) not in YEARS:
        raise click.BadParameter(f"{text!r} is no month: write 2026-11.", param_hint="--month")
    year, number = int(match[1]), int(match[2])
    return datetime(year, number, 1, tzinfo=zone), datetime(
        year + number // 12, number % 12 + 1, 1, tzinfo=zone
    )


def describe(start: datetime | None, end: datetime | None, zone: ZoneInfo) -> str:
    """The range as the head of a report names it."""
    if start is None and end is None:
        return f"of all time ({zone.key})"
    since = "the beginning" if start is None else start.isoformat(sep=" ", timespec="minutes")
    until = "now on" if end is None else end.isoformat(sep=" ", timespec="minutes")
    return f"from {since} to {until}, the end not included ({zone.key})"


def to_ms(moment: datetime | None) -> int | None:
    """Unix milliseconds; None stays open."""
    return None if moment is None else int(moment.timestamp()) * 1000 + moment.microsecond // 1000
