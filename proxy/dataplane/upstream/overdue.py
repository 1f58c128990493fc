"""Whether an upstream has taken too long, and how that is told."""

from __future__ import annotations

from typing import NamedTuple

from proxy.config.settings import TimeoutSettings


class Overdue(NamedTuple):
    """What an upstream failed to do in time. `silent`: nothing came of an answer that had begun."""

    what: str
    silent: bool = False


def overdue(
    timeouts: TimeoutSettings,
    since_sent_s: float,
    since_moved_s: float,
    *,
    begun: bool,
    stuck_s: float | None = None,
) -> Overdue | None:
    """None while the upstream is in time.

    since_sent_s · since the request was sent     since_moved_s · since something was passed on
    begun · the head of the answer is here
    stuck_s · while the request is still being sent: for how long the upstream has taken none of it
    """
    if since_sent_s > timeouts.total_s:
        return Overdue(f"took longer than {timeouts.total_s:g} s")
    if stuck_s is not None:
        stuck = stuck_s > timeouts.idle_s
        return Overdue(f"took nothing of the request for {timeouts.idle_s:g} s") if stuck else None
    if not begun:
        if since_sent_s > timeouts.first_byte_s:
            return Overdue(f"did not begin its answer within {timeouts.first_byte_s:g} s")
        return None
    if since_moved_s > timeouts.idle_s:
        return Overdue(f"fell silent for {timeouts.idle_s:g} s", silent=True)
    return None
