"""Budgets over the calendar: when they come back in each zone, told as a ledger of days, and that a
window belongs to the start of its requests."""

from __future__ import annotations

import pytest

from proxy.core.limits.credit import Credit
from tests.quota.worlds import limit, ms, world

# zone, limit 100 tokens; each line: local time, what happens (`use N`, `no`: a request is refused),
# then used and when it resets
STORIES = {
    "a day in Kolkata ends at half past six in the evening, UTC": (
        "Asia/Kolkata",
        "day",
        """
        2026-11-22T09:00+05:30  use 60   60    2026-11-23T00:00+05:30
        2026-11-22T18:31+00:00  use 30   30    2026-11-24T00:00+05:30
        2026-11-23T23:59+05:30  use 70   100   2026-11-24T00:00+05:30
        2026-11-23T23:59+05:30  no       100   2026-11-24T00:00+05:30
        2026-11-24T00:00+05:30  use 1    1     2026-11-25T00:00+05:30
    """,
    ),
    "Lord Howe sets its clocks half an hour forward": (
        "Australia/Lord_Howe",
        "day",
        """
        2026-10-04T01:59+10:30  use 100  100   2026-10-05T00:00+11:00
        2026-10-04T02:30+11:00  no       100   2026-10-05T00:00+11:00
        2026-10-04T23:59+11:00  no       100   2026-10-05T00:00+11:00
        2026-10-05T00:00+11:00  use 5    5     2026-10-06T00:00+11:00
    """,
    ),
    "and half an hour back": (
        "Australia/Lord_Howe",
        "day",
        """
        2026-04-05T01:45+11:00  use 50   50    2026-04-06T00:00+10:30
        2026-04-05T01:45+10:30  use 50   100   2026-04-06T00:00+10:30
        2026-04-05T23:59+10:30  no       100   2026-04-06T00:00+10:30
        2026-04-06T00:00+10:30  use 5    5     2026-04-07T00:00+10:30
    """,
    ),
    "New York's day of 23 hours": (
        "America/New_York",
        "day",
        """
        2026-03-08T00:00-05:00  use 100  100   2026-03-09T00:00-04:00
        2026-03-08T23:30-04:00  no       100   2026-03-09T00:00-04:00
        2026-03-09T00:00-04:00  use 1    1     2026-03-10T00:00-04:00
    """,
    ),
    "and its day of 25": (
        "America/New_York",
        "day",
        """
        2026-11-01T00:00-04:00  use 99   99    2026-11-02T00:00-05:00
        2026-11-01T01:30-04:00  use 1    100   2026-11-02T00:00-05:00
        2026-11-01T01:30-05:00  no       100   2026-11-02T00:00-05:00
        2026-11-01T23:30-05:00  no       100   2026-11-02T00:00-05:00
        2026-11-02T00:00-05:00  use 1    1     2026-11-03T00:00-05:00
    """,
    ),
    "a leap day is a day": (
        "UTC",
        "day",
        """
        2028-02-28T23:59+00:00  use 100  100   2028-02-29T00:00+00:00
        2028-02-29T00:00+00:00  use 100  100   2028-03-01T00:00+00:00
        2028-02-29T23:59+00:00  no       100   2028-03-01T00:00+00:00
        2028-03-01T00:00+00:00  use 2    2     2028-03-02T00:00+00:00
    """,
    ),
    "and belongs to its month": (
        "Asia/Kolkata",
        "month",
        """
        2028-02-01T00:00+05:30  use 90   90    2028-03-01T00:00+05:30
        2028-02-29T23:59+05:30  use 10   100   2028-03-01T00:00+05:30
        2028-02-29T23:59+05:30  no       100   2028-03-01T00:00+05:30
        2028-03-01T00:00+05:30  use 3    3     2028-04-01T00:00+05:30
    """,
    ),
    "weeks begin on Monday, the one of a clock change too": (
        "America/New_York",
        "week",
        """
        2026-10-26T00:00-04:00  use 40   40    2026-11-02T00:00-05:00
        2026-11-01T23:59-05:00  use 60   100   2026-11-02T00:00-05:00
        2026-11-01T23:59-05:00  no       100   2026-11-02T00:00-05:00
        2026-11-02T00:00-05:00  use 3    3     2026-11-09T00:00-05:00
    """,
    ),
    "a total never comes back": (
        "UTC",
        "total",
        """
        2026-11-22T00:00+00:00  use 99   99    -
        2027-11-22T00:00+00:00  use 1    100   -
        2037-11-22T00:00+00:00  no       100   -
    """,
    ),
}


@pytest.mark.parametrize("name", STORIES)
async def test_the_ledger_of_days(name: str) -> None:
    zone, per, story = STORIES[name]
    here, budget = await world(zone=zone), limit(f"100 tokens/{per}")
    for line in story.strip().splitlines():
        at, what, *amount, used, resets = line.split()
        here.clock.now_ms = ms(at)
        if what == "use":
            here.end(await here.admitted([budget]), int(amount[0]))
        else:
            refused = await here.refused([budget])
            assert refused.retry_after_ms is None
        state = await here.state(budget)
        assert (state.used, state.resets_at_ms) == (
            int(used),
            None if resets == "-" else ms(resets),
        ), line


async def test_a_request_counts_in_the_window_of_its_start_whenever_it_ends() -> None:
    here, day = await world(at="2026-11-22T23:59:59"), limit("100 tokens/day")
    old, before_ms = await here.admitted([day], 60), here.clock.now_ms
    here.clock.pass_ms(2000)
    assert await here.figures(day) == (0, 0, 100), "the new day owes nothing"
    new = await here.admitted([day], 10)
    slow = await here.admitted([day], 20, began_ms=before_ms)  # its body took until after midnight
    more = await here.admitted([day], 20, began_ms=before_ms)
    await here.refused([day], 0, began_ms=before_ms)  # the old day is full
    assert await here.figures(day) == (0, 10, 90)
    for one, used in ((old, 61), (slow, 21), (more, 18), (new, 11)):
        here.end(one, used)
    assert await here.figures(day) == (11, 0, 89)


async def test_a_clock_that_jumps_ahead_and_is_set_right_finds_the_counts_of_the_day() -> None:
    here, day = await world(), limit("100 tokens/day")
    here.end(await here.admitted([day]), 90)
    right_ms, here.clock.now_ms = here.clock.now_ms, ms("2031-01-01T00:00")
    here.end(await here.admitted([day]), 50)
    here.clock.now_ms = right_ms + 1
    assert await here.figures(day) == (90, 0, 10)


async def test_warnings_follow_the_credit() -> None:
    here, day = await world(), limit("100 tokens/day", warn_at_ppm=(900_000,))
    here.quota.grant(Credit("a", day.id, 100, here.clock.now_ms), here.clock.now_ms)
    here.end(await here.admitted([day]), 179)
    assert here.quota.warnings(here.clock.now_ms) == []
    here.end(await here.admitted([day]), 1)
    assert len(here.quota.warnings(here.clock.now_ms)) == 1
