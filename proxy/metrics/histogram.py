"""Counts durations in buckets; how a page shows them is not its matter."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

# A histogram at one moment: upper bounds in seconds, one count for each bound and one for what is
# beyond them all (not cumulative), and the sum in seconds.
Snapshot: TypeAlias = tuple[Sequence[float], Sequence[int], float]


class Histogram:
    """The counts of one histogram.

    `observe` is two list look-ups and an addition. A duration equal to a bound belongs to that
    bound's bucket.
    """

    __slots__ = ("_bounds_s", "_counts", "_sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def snapshot(self) -> Snapshot:
        return self._bounds_s, tuple(self._counts), self._sum_s
