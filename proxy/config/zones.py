"""Time zones as people write them, and the IANA name to write instead.

Cities, countries, offsets.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo

# Cities and countries that the database has no name for; the time of day there is that of the first
# word.
_PLACES = {
    place: zone
    for zone, places in {
        "Asia/Shanghai": (
            "beijing peking shenzhen guangzhou hangzhou chengdu wuhan nanjing china cst"
            " china_standard_time prc_time"
        ),
        "Asia/Tokyo": "osaka kyoto nagoya jst",
        "Asia/Seoul": "busan korea kst",
        "Asia/Kolkata": "mumbai delhi new_delhi bangalore bengaluru chennai hyderabad india ist",
        "Asia/Ho_Chi_Minh": "hanoi vietnam",
        "Asia/Dubai": "abu_dhabi uae",
        "Asia/Jerusalem": "tel_aviv",
        "Asia/Manila": "philippines",
        "Asia/Jakarta": "indonesia",
        "Europe/Berlin": "munich frankfurt hamburg cologne germany cest",
        "Europe/Zurich": "geneva basel bern switzerland",
        "Europe/Rome": "milan italy",
        "Europe/Madrid": "barcelona spain",
        "Europe/Paris": "lyon france",
        "Europe/London": "manchester edinburgh uk england bst",
        "Europe/Amsterdam": "rotterdam netherlands",
        "Europe/Warsaw": "krakow poland",
        "Europe/Moscow": "saint_petersburg russia msk",
        "Europe/Kyiv": "ukraine",
        "Europe/Stockholm": "sweden",
        "America/New_York": "boston washington miami atlanta philadelphia eastern edt us_east",
        "America/Chicago": "dallas houston austin central cdt",
        "America/Denver": "salt_lake_city mountain mdt",
        "America/Los_Angeles": (
            "san_francisco seattle san_diego silicon_valley california pacific pst pdt us_west"
        ),
        "America/Toronto": "ottawa montreal canada",
        "America/Sao_Paulo": "rio rio_de_janeiro brasilia brazil",
        "America/Mexico_City": "mexico",
        "Australia/Sydney": "canberra aest aedt",
        "Pacific/Auckland": "wellington nzst nzdt",
    }.items()
    for place in places.split()
}
_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+-])(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
_BEHIND = re.compile(r"Etc/GMT([+-])(\d{1,2})")


def suggested(text: str) -> str:
    """The zone to write instead of a text that is none, as part of a sentence."""
    offset = _OFFSET.fullmatch(text.strip())
    if offset is not None and int(offset[2]) <= 14 and not int(offset[3] or 0):
        sign = {"+": "-", "-": "+"}[offset[1]]
        return (
            "write a place, such as Asia/Shanghai, or for this offset"
            f" Etc/GMT{sign}{int(offset[2])} (whose sign is the other way round)"
        )
    known = sorted(zoneinfo.available_timezones())
    last = re.sub(r"[\s-]+", "_", text.strip().lower()).rpartition("/")[2]
    if last in _PLACES:
        return f"write {_PLACES[last]}"
    ends = {
        name.rpartition("/")[2].lower(): name
        for name in reversed(known)
        if not name.startswith(("posix", "right"))
    }
    close = difflib.get_close_matches(last, [*ends, *_PLACES], 1, 0.7)
    if close:
        return f"the nearest known one is {ends.get(close[0]) or _PLACES[close[0]]}"
    return "write Region/City, such as UTC, Europe/Berlin, Asia/Shanghai or America/New_York"


def surprise(zone: str) -> str | None:
    """What a zone that exists will surprise with."""
    behind = _BEHIND.fullmatch(zone)
    if behind is not None and int(behind[2]):
        return (
            f"{zone} is {behind[2]} hours {'behind' if behind[1] == '+' else 'ahead of'} UTC: its"
            " sign is the other way round"
        )
    if zone in ("EST", "MST", "HST"):
        return f"{zone} has no summer time; write a place, such as America/New_York"
    return None
