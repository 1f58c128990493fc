"""One limit's running count: the contract of `Budget`, `Rate` and `Slots`.

Call `look` on every counter of a request first, then `take` on each, with no await in between.
`look` says how much is left. `take` gives the place where it holds what a request is expected to
use, and `settle` ends that.

Amounts inside are in the counter's own measure (a rate counts units x milliseconds): `scale` of
them are one unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.core.limits.decisions import INDEX, is_exact, may_grow
from proxy.core.limits.limit import Enforce, Limit
from proxy.core.limits.state import LimitState, Refused

Clock = Callable[[], int]  # milliseconds of a clock that is never set


class When(msgspec.Struct, frozen=True, gc=False):
    """The three times of a step.

    They are the start that the record states, the time of day, and a clock that is never set.
    """

    started_at_ms: int
    now_ms: int
    steady_ms: int


class LimitCount:
    """What all kinds of counters share.

    `room` is the whole amount as of the last look. `running` requests hold something here; while
    there are any, the counter must not be dropped.
    """

    __slots__ = ("exact", "index", "limit", "room", "running", "scale", "shared", "strict")

    def __init__(self, limit: Limit, scale: int = 1) -> None:
        self.index = INDEX[limit.unit]
        self.scale = scale
        self.running = 0
        self.room = 0
        self._bind(limit)

    def _bind(self, limit: Limit) -> None:
        self.limit = limit
        self.exact = is_exact(limit)
        self.shared = limit.shared
        self.strict = limit.enforce is Enforce.STRICT

    def change(self, limit: Limit, when: When) -> None:
        """Keep the count, under another amount or mode."""
        self._bind(limit)

    def look(self, when: When) -> int:
        """How much is left; below zero where more is taken than there is."""
        raise NotImplementedError

    def take(self, hold: int) -> Any:
        """Hold that many units; return the place. The caller has just looked whether it may."""
        raise NotImplementedError

    def may_grow(self, more: int, place: Any, when: When) -> bool:
        """Whether a request that holds something at this place may take `more` units."""
        return may_grow(self.limit, more * self.scale, self.look(when))

    def grow(self, more: int, place: Any, when: When) -> Any:
        """The request takes `more`; returns its place from now on."""
        return place

    def settle(self, place: Any, hold: int, used: int, steady_ms: Clock) -> bool:
        """End a hold with what was used. Returns whether a warning may be due.

        The clock is read only where it matters.
        """
        raise NotImplementedError

    def refusal(self, hold: int, when: When) -> Refused:
        """The refusal of a request that does not fit."""
        raise NotImplementedError

    def state(self, when: When) -> LimitState:
        raise NotImplementedError

    def tells(self, when: When) -> list[int]:
        """The shares to warn of now, in millionths; each is told once."""
        raise NotImplementedError

    def is_blank(self, when: When) -> bool:
        """Whether a new counter would be in the same state."""
        raise NotImplementedError
