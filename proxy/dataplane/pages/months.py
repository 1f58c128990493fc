"""The month that a page shows, and moments as pages tell them."""

from __future__ import annotations

import re
from datetime import tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.core import dates
from proxy.core.calendar import Per, Window, window
from proxy.core.errors import invalid_request
from proxy.ledger.grouping import local

_MONTH: Final = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])")  # there was no use before


class MonthAsked(msgspec.Struct, frozen=True):
    """A month such as 2026-11; None is the present one."""

    month: str | None = None


def month_of(asked: MonthAsked, zone: ZoneInfo, now_ms: int) -> tuple[Window, dict[str, object]]:
    """The month that is asked for, and for the page its name and those beside it.

    Raises ProxyError 400 for what is no month.
    """
    at_ms = now_ms
    if asked.month is not None:
        if _MONTH.fullmatch(asked.month) is None:
            raise invalid_request("month is written as 2026-11.", param="month")
        try:
            at_ms = dates.unix_ms(dates.moment(f"{asked.month}-01", zone))
        except ValueError as error:
            raise invalid_request(f"month: {error}", param="month") from error
    span = window(Per.MONTH, at_ms, zone)
    assert span.end_ms is not None, "a month ends"
    name = _name(span.start_ms, zone)
    return span, {
        "month": name,
        "previous": _name(span.start_ms - 1, zone),
        "following": _name(span.end_ms, zone),
        "newest": name >= _name(now_ms, zone),
    }


def moment(at_ms: int, zone: tzinfo) -> str:
    """A moment to the second, with the name of the zone."""
    return local(at_ms, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _name(at_ms: int, zone: tzinfo) -> str:
    return local(at_ms, zone).strftime("%Y-%m")
