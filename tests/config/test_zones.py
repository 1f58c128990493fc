"""Each suggestion is a zone that exists."""

from __future__ import annotations

import re
import zoneinfo

import pytest

from proxy.config.zones import _PLACES, suggested, surprise


def test_every_place_leads_to_a_zone_that_exists() -> None:
    assert set(_PLACES.values()) <= zoneinfo.available_timezones()


@pytest.mark.parametrize(("text", "zone"), [
    ("Beijing", "Asia/Shanghai"), ("Asia/Beijing", "Asia/Shanghai"), ("China Standard Time", "Asia/Shanghai"), ("shanghai", "Asia/Shanghai"), ("Europe/Berln", "Europe/Berlin"),
    ("UTC+8", "Etc/GMT-8"), ("GMT-05:00", "Etc/GMT+5"), ("PST", "America/Los_Angeles"), ("new york", "America/New_York"), ("Mumbai", "Asia/Kolkata"), ("Mars", "Europe/Berlin"),
])  # fmt: skip
def test_a_zone_is_suggested(text: str, zone: str) -> None:
    assert zone in suggested(text) and all(
        name in zoneinfo.available_timezones()
        for name in re.findall(r"[A-Z][a-z]+/[\w+-]+", suggested(text))
        if name != "Region/City"
    )


def test_what_a_zone_surprises_with() -> None:
    assert (
        "8 hours behind" in (surprise("Etc/GMT+8") or "")
        and "5 hours ahead" in (surprise("Etc/GMT-5") or "")
        and "summer" in (surprise("EST") or "")
    )
    assert surprise("UTC") is surprise("Etc/GMT+0") is surprise("Europe/Berlin") is None
