"""What every notice goes through: one line of printable text, and times in the operator's zone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.notices.notice import EVENTS, TEAM_EVENTS, TEXT_CHARS_MAX, iso, moment, plain
from tests.support.effort import examples


@settings(max_examples=examples(300), deadline=None)
@given(st.text(max_size=1000))
def test_any_text_becomes_one_short_printable_line(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable() and len(shown) <= TEXT_CHARS_MAX
    shown.encode()  # there is no half of a character in it
    if text.isprintable() and len(text) <= TEXT_CHARS_MAX:
        assert shown == text


def test_times_are_those_of_the_zone() -> None:
    at_ms = 1_798_757_999_999
    assert moment(at_ms, ZoneInfo("Asia/Shanghai")) == "2027-01-01 06:59 Asia/Shanghai"
    assert iso(at_ms, ZoneInfo("Asia/Shanghai")) == "2027-01-01T06:59:59+08:00"
    assert iso(at_ms) == "2026-12-31T22:59:59+00:00"


def test_a_team_hears_of_what_can_be_its_own() -> None:
    assert set(TEAM_EVENTS) < set(EVENTS)
