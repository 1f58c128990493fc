"""Times as vendors' files write them: epochs, ISO, compact and Chinese dates, months."""

from __future__ import annotations

import enum
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import msgspec

from proxy.core.calendar import Calendar, Per
from proxy.core.dates import YEARS

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS: Final = {10: 1, 13: 1000, 16: 1_000_000, 19: 1_000_000_000}  # by digits: per second
_COMPACT: Final = re.compile(
    r"(20[0-9]{2})(0[1-9]|1[0-2])([0-3][0-9])?(?:([0-2][0-9])([0-5][0-9])([0-5][0-9]))?"
)
_WRITTEN: Final = re.compile(
    r"(?P<year>[0-9]{4})\s*[-/.年]\s*(?P<month>[0-9]{1,2})\s*(?:月$|[-/.月]\s*(?P<day>[0-9]{1,2})日?)?"
    r"(?:[t\s]+(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?:[.,](?P<fraction>[0-9]{1,12}))?)?|时))?"
    r"\s*(?P<zone>z|utc|gmt|[-+][0-9]{2}:?[0-9]{2})?(?:\s*(?:utc|gmt|cst))?",
    re.IGNORECASE,
)


class Width(enum.IntEnum):
    """How much time one cell covers."""

    MOMENT = 0
    HOUR = 1
    DAY = 2
    MONTH = 3


class CellTime(msgspec.Struct, frozen=True, gc=False):
    """The start of what a cell names, in Unix milliseconds, and how much time it covers."""

    start_ms: int
    width: Width


def when(text: str, zone: tzinfo) -> CellTime:
    """The time in a cell; in `zone` unless it states its own offset.

    Raises ValueError with the end of a sentence.
    """
    said = text.strip().strip("\"'` ")
    digits = said.partition(".")[0] if re.fullmatch(r"[0-9]+\.0*", said) else said
    if digits.isascii() and digits.isdigit():
        if len(digits) in _EPOCHS:
            return CellTime(int(digits) * 1000 // _EPOCHS[len(digits)], Width.MOMENT)
        if (match := _COMPACT.fullmatch(digits)) is not None:
            return _made(*match.groups(), zone=zone)
    if (match := _WRITTEN.fullmatch(said)) is not None:
        found = match.groupdict()
        return _made(
            found["year"],
            found["month"],
            found["day"],
            found["hour"],
            found["minute"],
            found["second"],
            fraction=found["fraction"],
            zone=zone if found["zone"] is None else _offset(found["zone"]),
        )
    raise ValueError("is no time: 2026-11-01, 2026-11-01T12:00:00Z, 20261101 and 1793491200 are")


def period(at_ms: int, width: Width, days: Calendar) -> tuple[int, int]:
    """[start, end) of the hour, day or month that holds a moment, in Unix milliseconds."""
    if width in (Width.MOMENT, Width.HOUR):
        start = at_ms - at_ms % HOUR_MS
        return start, start + HOUR_MS
    found = days.window(Per.DAY if width is Width.DAY else Per.MONTH, at_ms)
    assert found.end_ms is not None, "days and months end"
    return found.start_ms, found.end_ms


def _made(
    year: str,
    month: str,
    day: str | None,
    hour: str | None = None,
    minute: str | None = None,
    second: str | None = None,
    *,
    fraction: str | None = None,
    zone: tzinfo,
) -> CellTime:
    numbers = [int(part) for part in (year, month, day or "1", hour or "0", minute or "0")]
    if numbers[0] not in YEARS:
        raise ValueError(f"is no time: the years are {YEARS[0]} to {YEARS[-1]}")
    try:
        # A bill that says 24:00 means the next midnight.
        later = numbers[3] == 24
        numbers[3] = 0 if later else numbers[3]
        moment = datetime(*numbers, int(second or "0"), tzinfo=zone)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise ValueError("is no time: there is no such date") from error
    moment += timedelta(days=1) if later else timedelta()
    ms = (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    ms += int(((fraction or "0") + "000")[:3])
    width = Width.MONTH if day is None else Width.DAY if hour is None else Width.MOMENT
    return CellTime(ms, width)


def _offset(text: str) -> tzinfo:
    if text.casefold() in ("z", "utc", "gmt"):
        return UTC
    minutes = 60 * int(text[1:3]) + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
