"""Days and times of day as a config has them.

They stand apart from `values.py`, which knows the dialects: a command about prices needs none.
"""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
INSTANT = rf"{DAY}(?:T[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}})?(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})?)?"


def day(text: str) -> str:
    """A calendar day."""
    if not re.fullmatch(DAY, text):
        raise ValueError("expected a day such as 2027-01-31")
    return _exists(text)


def instant(text: str) -> str:
    """A calendar day or a time of day on it, with or without an offset."""
    if not re.fullmatch(INSTANT, text):
        raise ValueError(
            "expected a day such as 2027-01-31 or a time such as 2027-01-31T18:00+02:00; what is"
            " never to end has none"
        )
    return _exists(text)


def _exists(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("no such day or time in the calendar") from error
    return text


def instant_ms(text: str, zone: str) -> int:
    """Unix milliseconds of a day (its midnight) or time; `zone` is where it says no offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp() * 1000)
