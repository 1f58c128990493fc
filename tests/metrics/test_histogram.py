"""Which bucket a duration falls into, and that a snapshot stands still."""

from __future__ import annotations

import pytest

from proxy.metrics.histogram import Histogram


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        (0.0, (1, 0, 0)),
        (0.1, (1, 0, 0)),  # a bound is the largest duration of its bucket
        (0.100001, (0, 1, 0)),
        (1.0, (0, 1, 0)),
        (60.0, (0, 0, 1)),
    ],
)
def test_a_duration_counts_in_one_bucket(seconds, counts):
    timer = Histogram((0.1, 1.0))
    timer.observe(seconds)
    assert timer.snapshot() == ((0.1, 1.0), counts, seconds)


def test_a_snapshot_stays_as_it_was():
    timer = Histogram((0.1,))
    before = timer.snapshot()
    timer.observe(2.0)
    timer.observe(0.5)
    assert before == ((0.1,), (0, 0), 0.0)
    assert timer.snapshot() == ((0.1,), (0, 2), 2.5)
