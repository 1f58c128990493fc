"""The calendar windows of limits: days, weeks from Monday and months of a time zone.

A window is a half-open span [start, end) of Unix milliseconds. Every moment lies in exactly one,
also where a clock change takes midnight away or lets it come twice: a day begins at the first
moment of its date. The zone is passed in; the caller reads it from the system's files.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


class Per(enum.StrEnum):
    """Over which time a limit counts. Seconds, minutes and hours flow; days, weeks and months are
    those of the calendar."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"  # for ever: a credit that is used up
    NONE = ""  # of concurrent, which knows no time


class Window(msgspec.Struct, frozen=True, gc=False):
    """[start_ms, end_ms); end None: it never ends."""

    start_ms: int
    end_ms: int | None


TOTAL = Window(0, None)
_NONE = Window(0, 0)


def window(per: Per, at_ms: int, zone: tzinfo) -> Window:
    """The window of this period that the moment lies in. `per` is day, week, month or total."""
    if per is Per.TOTAL:
        return TOTAL
    first, following = _STEPS[per]
    begin = first((_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).date())
    start_ms, end_ms = _midnight_ms(begin, zone), _midnight_ms(following(begin), zone)
    # A clock set back across midnight shows the old date again, although the new day has begun:
    # begun is begun.
    while at_ms >= end_ms:
        begin = following(begin)
        start_ms, end_ms = end_ms, _midnight_ms(following(begin), zone)
    assert start_ms <= at_ms, "a date shown now has begun"
    return Window(start_ms, end_ms)


class Calendar:
    """The windows of one zone. The last two of each period are remembered: everybody asks for the
    same ones, all at once at midnight."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[Per, tuple[Window, Window]] = {}

    def window(self, per: Per, at_ms: int) -> Window:
        """As the function of that name says."""
        last, before = self._known.get(per, (_NONE, _NONE))
        for known in (last, before):
            if known.start_ms <= at_ms and (known.end_ms is None or at_ms < known.end_ms):
                return known
        found = window(per, at_ms, self._zone)
        self._known[per] = (found, last)
        return found


def _monday(day: date) -> date:
    return day - day.weekday() * _DAY


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _next_month(first: date) -> date:
    return (first + 31 * _DAY).replace(day=1)


_STEPS: dict[Per, tuple[Callable[[date], date], Callable[[date], date]]] = {
    Per.DAY: (lambda day: day, lambda day: day + _DAY),
    Per.WEEK: (_monday, lambda monday: monday + 7 * _DAY),
    Per.MONTH: (_first_of_month, _next_month),
}


def _midnight_ms(day: date, zone: tzinfo) -> int:
    """The first moment at which the zone's clocks show this date or a later one."""
    midnight = datetime.combine(day, time(), zone)
    early_s, late_s = sorted((_unix_s(midnight), _unix_s(midnight.replace(fold=1))))
    if early_s == late_s or _shows(early_s, day, zone):
        return early_s * 1000
    # Midnight was skipped: the clocks jump from the day before into this one, somewhere between the
    # two readings of it.
    while late_s - early_s > 1:
        middle_s = (early_s + late_s) // 2
        early_s, late_s = (early_s, middle_s) if _shows(middle_s, day, zone) else (middle_s, late_s)
    return late_s * 1000


def _shows(at_s: int, day: date, zone: tzinfo) -> bool:
    return (_EPOCH + at_s * _SECOND).astimezone(zone).date() >= day


def _unix_s(moment: datetime) -> int:
    return (moment - _EPOCH) // _SECOND
