"""Times as vendors' files write them: epochs, ISO, compact and Chinese dates, months."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import msgspec

from proxy.core.calendar import Calendar, Per
from proxy.core.dates import YEARS

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS: Final = {10: 1, 13: 1000, 16: 1_000_000, 19: 1_000_000_000}  # by digits: per second
# An hour may stand alone; AM and PM make it one of twelve.
_TIME: Final = (
    r"(?:[t\s,]+(?P<hour>[0-9]{1,2})(?:(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?:[.,](?P<fraction>[0-9]{1,12}))?)?)|时|(?=\s*[apzu+]|$))\s*(?P<half>[ap]m)?)?"
    r"\s*(?P<zone>z|utc|gmt|[-+][0-9]{2}(?::?[0-9]{2})?)?(?:\s*(?:utc|gmt|(?P<cst>cst)))?"
)
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH: Final = rf"(?P<named>{'|'.join(_MONTHS)})[a-z]*\.?"
_WEEKDAY: Final = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_COMPACT: Final = re.compile(
    r"(?P<year>20[0-9]{2})(?P<month>0[1-9]|1[0-2])(?P<day>[0-3][0-9])?"
    r"(?:[t ]?(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])(?P<second>[0-5][0-9])(?P<zone>z)?)?",
    re.IGNORECASE,
)
_WRITTEN: Final = re.compile(
    r"(?P<year>[0-9]{4})\s*[-/.年]\s*(?P<month>[0-9]{1,2})\s*"
    rf"(?:月$|[-/.月]\s*(?P<day>[0-9]{{1,2}})日?)?{_TIME}",
    re.IGNORECASE,
)
# What programs for people write: 1-Nov-2026, November 1, 2026, Nov 2026, 01.11.2026.
_OTHERS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_WEEKDAY}(?P<day>[0-9]{{1,2}})[-\s]+{_MONTH}[-\s,]+(?P<year>[0-9]{{4}}){_TIME}",
        rf"{_WEEKDAY}{_MONTH}\s+(?P<day>[0-9]{{1,2}}),?\s+(?P<year>[0-9]{{4}}){_TIME}",
        rf"{_MONTH}[-\s]+(?P<year>[0-9]{{4}})",
        rf"(?P<day>[0-9]{{1,2}})\.(?P<month>[0-9]{{1,2}})\.(?P<year>[0-9]{{4}}){_TIME}",
    )
)
_SLASHED: Final = re.compile(
    rf"(?P<first>[0-9]{{1,2}})[-/](?P<second_part>[0-9]{{1,2}})[-/](?P<year>[0-9]{{4}}){_TIME}",
    re.IGNORECASE,
)
_SECONDS: Final = re.compile(r"(?P<whole>[0-9]{10})\.(?P<fraction>[0-9]+)")


class Width(enum.IntEnum):
    """How much time one cell covers."""

    MOMENT = 0
    HOUR = 1
    DAY = 2
    MONTH = 3


class CellTime(msgspec.Struct, frozen=True, gc=False):
    """The start of what a cell names, in Unix milliseconds, and how much time it covers.

    `end_ms`: where it is stated to end.
    """

    start_ms: int
    width: Width
    end_ms: int | None = None


def when(text: str, zone: tzinfo, *, day_first: bool | None = None) -> CellTime:
    """The time in a cell; in `zone` unless it states its own offset.

    `day_first`: how `11/01/2026` is meant; None: it is not told, and such a date is refused.
    Raises ValueError with the end of a sentence.
    """
    said = text.strip().strip("\"'` ")
    if (seconds := _SECONDS.fullmatch(said)) is not None:
        ms = int((seconds["fraction"] + "000")[:3])
        return CellTime(int(seconds["whole"]) * 1000 + ms, Width.MOMENT)
    if said.isascii() and said.isdigit() and len(said) in _EPOCHS:
        return CellTime(int(said) * 1000 // _EPOCHS[len(said)], Width.MOMENT)
    for pattern in (_WRITTEN, _COMPACT, *_OTHERS):
        if (match := pattern.fullmatch(said)) is not None:
            return _made(match.groupdict(), zone)
    if (match := _SLASHED.fullmatch(said)) is not None:
        if day_first is None:
            raise ValueError(
                "may begin with a day or a month: say which with `day_first: true` or "
                "`day_first: false` in a --mapping"
            )
        found = match.groupdict()
        day, month = ("first", "second_part") if day_first else ("second_part", "first")
        return _made(found | {"day": found[day], "month": found[month]}, zone)
    raise ValueError("is no time: 2026-11-01, 2026-11-01T12:00:00Z, 20261101 and 1793491200 are")


def period(at_ms: int, width: Width, days: Calendar) -> tuple[int, int]:
    """[start, end) of the hour, day or month that holds a moment, in Unix milliseconds."""
    if width in (Width.MOMENT, Width.HOUR):
        start = at_ms - at_ms % HOUR_MS
        return start, start + HOUR_MS
    found = days.window(Per.DAY if width is Width.DAY else Per.MONTH, at_ms)
    assert found.end_ms is not None, "days and months end"
    return found.start_ms, found.end_ms


def _made(found: Mapping[str, str | None], zone: tzinfo) -> CellTime:
    """The time of a match's named parts."""
    day, hour, minute = found.get("day"), found.get("hour"), found.get("minute")
    named = found.get("named")
    month = found["month"] if named is None else str(_MONTHS.index(named.casefold()) + 1)
    numbers = [int(part or "0") for part in (found["year"], month, day or "1", hour, minute)]
    if numbers[0] not in YEARS:
        raise ValueError(f"is no time: the years are {YEARS[0]} to {YEARS[-1]}")
    if (half := found.get("half")) is not None:
        if not 1 <= numbers[3] <= 12:
            raise ValueError("is no time: AM and PM go with hours from 1 to 12")
        numbers[3] = numbers[3] % 12 + 12 * (half.casefold() == "pm")
    stated = found.get("zone")
    own = zone if stated is None else _offset(stated)
    if found.get("cst") and stated is None and not _is_chinas(zone):
        raise ValueError("names CST, which is China's time or America's: write its offset")
    try:
        # A bill that says 24:00 means the next midnight.
        later = numbers[3] == 24
        numbers[3] = 0 if later else numbers[3]
        moment = datetime(*numbers, int(found.get("second") or "0"), tzinfo=own)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise ValueError("is no time: there is no such date") from error
    moment += timedelta(days=1) if later else timedelta()
    ms = (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    ms += int(((found.get("fraction") or "0") + "000")[:3])
    if hour is not None:
        return CellTime(ms, Width.HOUR if minute is None else Width.MOMENT)
    return CellTime(ms, Width.MONTH if day is None else Width.DAY)


def _offset(text: str) -> tzinfo:
    if text.casefold() in ("z", "utc", "gmt"):
        return UTC
    minutes = 60 * int(text[1:3]) + int(text[3:].lstrip(":") or "0")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _is_chinas(zone: tzinfo) -> bool:
    return zone.utcoffset(datetime(2026, 1, 1)) == timedelta(hours=8)
