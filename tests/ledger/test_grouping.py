"""Groups of a usage: names, local times and windows of days and months."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from proxy.ledger import QuestionRefused, grouping
from proxy.ledger.grouping import DAYS_MAX, Ask
from proxy.ledger.reading import LABEL, RECORDS_MAX, TAG
from proxy.ledger.spans import Reach
from tests.ledger.samples import START_MS

DAY_MS = 86_400_000
MIDNIGHT_MS = 1_793_491_200_000  # 2026-11-01T00:00Z


def ask(*by: str, from_ms: int | None = None, to_ms: int | None = None, zone: str = "UTC") -> Ask:
    return Ask(by, from_ms, to_ms, ZoneInfo(zone), ("requests",))


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    grouping.check(["team", "label:x", "tag:y"])
    with pytest.raises(QuestionRefused, match="cannot group by colour, tag:: use any of team, key"):
        grouping.check(["team", "colour", "tag:"])


def test_what_is_read_from_records_and_what_is_counted_first() -> None:
    through = Ask(["team"], None, None, UTC, (), through=3)
    asked = [ask("team", "day"), ask("source"), ask("label:x"), ask("tag:x"), through]
    assert list(map(grouping.reads_records, asked)) == [False, True, True, True, True]
    assert list(map(grouping.counts_first, asked)) == [False, False, False, True, True]
    grouping.check_count(RECORDS_MAX)
    grouping.check_booked(3, 3)
    with pytest.raises(QuestionRefused, match="5,000,000: ask for less"):
        grouping.check_count(RECORDS_MAX + 1)
    with pytest.raises(QuestionRefused, match="ends at seq 3, before 4"):
        grouping.check_booked(4, 3)


def test_labels_and_tags_have_a_name() -> None:
    assert grouping.named("label:tag:x") == (LABEL, "tag:x")
    assert grouping.named("tag:x") == (TAG, "x")
    assert grouping.named("team") is None


def test_windows_are_local_days_or_months_cut_to_the_range_and_to_what_there_is() -> None:
    reached = Reach(MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 3 * DAY_MS)
    last_ms = MIDNIGHT_MS + 3 * DAY_MS
    found = grouping.windows(reached, last_ms, ask("day", to_ms=last_ms + 7, zone="Asia/Kolkata"))
    hours_ms = 18 * 3_600_000 + 1_800_000
    assert found == [
        ("2026-11-02", MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + DAY_MS + hours_ms),
        ("2026-11-03", MIDNIGHT_MS + DAY_MS + hours_ms, MIDNIGHT_MS + 2 * DAY_MS + hours_ms),
        ("2026-11-04", MIDNIGHT_MS + 2 * DAY_MS + hours_ms, last_ms + 7),
    ]
    assert grouping.windows(reached, last_ms, ask("month", from_ms=last_ms)) == [
        ("2026-11-04", last_ms, last_ms + 900_000)
    ]


@pytest.mark.parametrize(
    ("reached", "last_ms", "by"),
    [
        (Reach(START_MS, START_MS), START_MS, ("team",)),
        (Reach(START_MS, START_MS), START_MS, ("day", "hour")),
        (Reach(START_MS, 0), START_MS, ("day",)),
        (Reach(None, START_MS), None, ("day",)),
        (Reach(1, START_MS), 2 + DAYS_MAX * DAY_MS, ("day",)),
    ],
)
def test_there_are_no_windows(reached: Reach, last_ms: int | None, by: tuple[str, ...]) -> None:
    assert grouping.windows(reached, last_ms, ask(*by)) is None


def test_a_row_has_the_currency_behind_the_charge() -> None:
    line = ("000 2026-11-01T01:00:00+00:00", "a", "USD")
    row = grouping.usage_row(["hour", "team"], ["charge_nano", "requests"], line, [5, None])
    assert list(row.items()) == [
        ("hour", "2026-11-01T01:00:00+00:00"),
        ("team", "a"),
        ("charge_nano", 5),
        ("currency", "USD"),
        ("requests", None),
    ]


def test_the_hour_that_a_clock_change_repeats_sorts_by_time() -> None:
    zone = ZoneInfo("America/New_York")
    first_ms = 1_793_511_000_000  # 2026-11-01T05:30Z
    hours = [grouping.local_time("hour", first_ms + n * 3_600_000, zone) for n in range(3)]
    assert hours == sorted(hours)
    assert [hour.partition(" ")[2] for hour in hours] == [
        "2026-11-01T01:00:00-04:00",
        "2026-11-01T01:00:00-05:00",
        "2026-11-01T02:00:00-05:00",
    ]
    assert [grouping.local_time(name, first_ms, zone) for name in ("month", "day")] == [
        "2026-11",
        "2026-11-01",
    ]
