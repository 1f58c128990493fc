"""Limits that flow: a story an accountant can follow, the promise about any interval, and that each
correction is exact, against a reckoning from scratch."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from proxy.core.limits import gcra
from proxy.core.limits.gcra import Bucket, Layer

TraceFunction = Callable[[FrameType, str, object], object]

# A limit of 60 units a minute: one a second. Amounts are shown in units; inside they are units x
# milliseconds of the period.
PERIOD_MS = 60_000
# at s  what          who  units     level after
STORY = """
0       take          a    40        40
0       take          b    30        70
10      look          -    -         60
10      end           a    10        30     a used 10 of 40: as if it had taken 10
15      take          c    50        75
20      end           b    30        70     b used all 30
200     look          -    -         0      all has leaked away
200     take          d    20        20
205     take          e    5         20
210     end           c    50        15     what c did not use leaked long ago: nothing is given back
210     end           d    8         3      12 of 20 unused
210     end           e    5         3
212     take          f    4         5
220     end           f    0         0      it leaked meanwhile, but for nothing
220     spend         -    9         9
220     take          g    6         15
227     end           g    2         4      4 of 6 unused
"""


def test_the_story() -> None:
    bucket = Bucket(60, 0)
    blocks: dict[str, tuple[Layer, int]] = {}
    for line in STORY.strip().splitlines():
        at_s, what, who, units, level = line.split()[:5]
        bucket.flow(int(at_s) * 1000)
        if what == "take":
            blocks[who] = (bucket.take(int(units) * PERIOD_MS), int(units))
        elif what == "end":
            block, taken = blocks[who]
            bucket.settle(block, (taken - int(units)) * PERIOD_MS)
        elif what == "spend":
            bucket.spend(int(units) * PERIOD_MS)
        assert bucket.level == int(level) * PERIOD_MS, line


def reckoned(leak: int, events: list[tuple[int, int]], now_ms: int) -> int:
    """The level from scratch: everything that came, at its time, with what is known of it now."""
    level, at_ms = 0, 0
    for came_ms, amount in [*events, (now_ms, 0)]:
        level = max(0, level - (came_ms - at_ms) * leak) + amount
        at_ms = came_ms
    return level


def history(dice: random.Random, steps: int) -> None:
    leak = dice.choice([1, 7, 60, 1000])
    bucket, now_ms = Bucket(leak, 0), 0
    events: list[tuple[int, int]] = []  # (when, amount), the amount corrected where it is known
    running: list[tuple[Layer, int, int]] = []  # its block, its place in `events`, what it took
    for _ in range(steps):
        now_ms += dice.choice([0, 0, 1, 5, 50, dice.randrange(400)])
        bucket.flow(now_ms)
        move = dice.random()
        if move < 0.5:
            amount = dice.choice([0, 1, dice.randrange(50 * leak), dice.randrange(500 * leak)])
            running.append((bucket.take(amount), len(events), amount))
            events.append((now_ms, amount))
        elif move < 0.6:
            amount = dice.randrange(100 * leak)
            bucket.spend(amount)
            events.append((now_ms, amount))
        elif running:
            block, place, taken = running.pop(dice.randrange(len(running)))
            unused = dice.choice([0, taken, dice.randint(0, taken)])
            bucket.settle(block, unused)
            events[place] = (events[place][0], taken - unused)
        assert bucket.level == reckoned(leak, events, now_ms)
    while running:
        block, place, taken = running.pop()
        bucket.settle(block, taken)
        events[place] = (events[place][0], 0)
        assert bucket.level == reckoned(leak, events, now_ms)
    assert chain(bucket) == [], "who has ended leaves nothing behind"


def chain(bucket: Bucket) -> list[Layer]:
    found, block = [], bucket._top
    while block is not None:
        found.append(block)
        block = block.below
    return found


@pytest.mark.parametrize("seed", range(400))
def test_the_level_is_as_if_each_had_taken_just_what_it_used(seed: int) -> None:
    dice = random.Random(seed)
    history(dice, dice.choice([5, 20, 80]))


@pytest.mark.parametrize(
    ("amount", "period_ms", "burst"),
    [(7, 1000, 7), (60, 60_000, 5), (1, 3_600_000, 1), (10**12, 3_600_000, 10**12), (3, 1000, 1)],
)
def test_in_any_interval_no_more_than_the_burst_and_the_rate(
    amount: int, period_ms: int, burst: int
) -> None:
    dice, room = random.Random(amount), burst * period_ms
    bucket, now_ms = Bucket(amount, 0), 0
    let_through: list[int] = []
    weight = max(1, burst // 5)
    for _ in range(400):
        now_ms += dice.choice([0, 1, period_ms // amount, period_ms // 3])
        bucket.flow(now_ms)
        if bucket.level + weight * period_ms <= room:
            bucket.take(weight * period_ms)
            let_through.append(now_ms)
        else:
            wait_ms = bucket.wait_ms(weight * period_ms, room)
            assert wait_ms is not None
            assert wait_ms > 0
            assert bucket.level - (wait_ms - 1) * amount + weight * period_ms > room, (
                "a millisecond earlier would still be too early"
            )
            assert bucket.level - wait_ms * amount + weight * period_ms <= room, (
                "and then it is let through"
            )
    assert len(let_through) > burst // weight, "and it comes back"
    for first, since_ms in enumerate(let_through):
        for last in range(first, len(let_through)):
            assert (last - first + 1) * weight * period_ms <= room + amount * (
                let_through[last] - since_ms
            )


def test_what_can_never_be_let_through_has_no_wait() -> None:
    assert Bucket(60, 0).wait_ms(61_000, 60_000) is None
    assert Bucket(0, 0, 10).wait_ms(1, 10) is None
    assert Bucket(0, 0).wait_ms(1, 10) == 0


def test_time_that_runs_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(10, 1000, 500)
    bucket.flow(400)
    assert (bucket.level, bucket.at_ms) == (500, 1000)
    bucket.flow(1010)
    assert bucket.level == 400


def test_another_amount_holds_from_its_moment_on() -> None:
    bucket = Bucket(10, 0, 1000)
    bucket.change_leak(1, 50)
    assert bucket.level == 500
    bucket.flow(150)
    assert bucket.level == 400


def lines_run(running: int) -> int:
    """How many lines of the bucket run while this many requests begin, leak and end: work, counted
    instead of timed."""
    bucket, dice, count = Bucket(1, 0), random.Random(0), 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename == gcra.__file__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        blocks = [bucket.take(dice.randrange(1, 9)) for _ in range(running)]
        for step in range(4 * running):
            bucket.flow(step)
        blocks += [bucket.take(dice.randrange(1, 9)) for _ in range(running)]
        dice.shuffle(blocks)
        for block in blocks:
            bucket.settle(block, 4)
    finally:
        sys.settrace(before)
    assert chain(bucket) == []
    return count


def test_a_request_costs_the_same_however_many_are_running() -> None:
    assert lines_run(3000) < 12 * lines_run(300)
