"""Time of day that does not run back."""

from __future__ import annotations

import pytest

from proxy.core.clock import STEP_BACK_MAX_MS, SteadyClock

# the system's clock -> the time to go by, in minutes, and the step that is told
STORIES = [
    ([0, 1, 2, 60, 600], [0, 1, 2, 60, 600], None),
    (
        [100, 70, 80, 99, 100, 101],
        [100, 100, 100, 100, 100, 101],
        None,
    ),  # half an hour back: it stands still until that is made up for
    ([100, 40, 41], [100, 100, 100], None),  # a whole hour
    (
        [100, 39, 40, 101],
        [100, 39, 40, 101],
        -61 * 60_000,
    ),  # more: it was wrong by more, the new time is taken
    ([100, 70, 30, 31], [100, 100, 30, 31], -70 * 60_000),  # in two steps
    (
        [100, 43_300, 100, 101],
        [100, 43_300, 100, 101],
        -43_200 * 60_000,
    ),  # a month ahead for a moment
]


@pytest.mark.parametrize(("system", "steady", "told_ms"), STORIES)
def test_stories(system: list[int], steady: list[int], told_ms: int | None) -> None:
    clock = SteadyClock()
    assert [clock.at(minute * 60_000) // 60_000 for minute in system] == steady
    assert clock.take_step() == told_ms
    assert clock.take_step() is None, "once"


def test_the_bound_is_an_hour() -> None:
    assert STEP_BACK_MAX_MS == 3_600_000
