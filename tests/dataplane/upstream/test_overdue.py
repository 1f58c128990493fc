"""When an upstream has taken too long, and which of the limits in time says so."""

from __future__ import annotations

import pytest

from proxy.config.settings import TimeoutSettings
from proxy.dataplane.upstream.overdue import overdue

TIMEOUTS = TimeoutSettings(first_byte_s=5, idle_s=3, total_s=60)


@pytest.mark.parametrize(
    ("since_sent_s", "since_moved_s", "begun", "what"),
    [
        (5.0, 5.0, False, None),
        (5.1, 5.1, False, "did not begin its answer within 5 s"),
        (50.0, 3.0, True, None),
        (50.0, 3.1, True, "fell silent for 3 s"),
        (60.1, 0.0, True, "took longer than 60 s"),
        (60.1, 60.1, False, "took longer than 60 s"),
    ],
)
def test_the_first_limit_that_is_passed_says_so(
    since_sent_s: float, since_moved_s: float, begun: bool, what: str | None
) -> None:
    late = overdue(TIMEOUTS, since_sent_s, since_moved_s, begun=begun)
    assert (None if late is None else late.what) == what
    assert late is None or late.silent == ("silent" in late.what)
