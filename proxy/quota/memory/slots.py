"""The count of requests that run at once."""

from __future__ import annotations

from typing import Any

from proxy.core.limits.limit import PPM, Limit
from proxy.core.limits.state import HELD_RETRY_MS, LimitState, Refused
from proxy.quota.memory.counter import Clock, LimitCount, When

TELL_EVERY_MS = 60_000  # of a limit that only warns


class Slots(LimitCount):
    """The count of a limit on requests at once."""

    __slots__ = ("_in_use", "_tell_at_ms")

    def __init__(self, limit: Limit, steady_ms: int) -> None:
        super().__init__(limit)
        self._in_use = 0
        self._tell_at_ms = steady_ms

    def _bind(self, limit: Limit) -> None:
        super()._bind(limit)
        self.room = limit.amount

    def look(self, when: When) -> int:
        return self.room - self._in_use

    def take(self, hold: int) -> None:
        self._in_use += hold
        self.running += 1

    def settle(self, place: Any, hold: int, used: int, steady_ms: Clock) -> bool:
        self._in_use -= hold
        self.running -= 1
        return False

    def refusal(self, hold: int, when: When) -> Refused:
        never = self.room == 0
        return Refused(
            limit=self.limit,
            state=self.state(when),
            wanted=hold,
            retry_after_ms=None if never else HELD_RETRY_MS,
            never=never,
        )

    def state(self, when: When) -> LimitState:
        return LimitState(
            limit=self.limit,
            amount=self.room,
            used=self._in_use,
            remaining=max(0, self.room - self._in_use),
        )

    def tells(self, when: When) -> list[int]:
        if when.steady_ms < self._tell_at_ms:
            return []
        self._tell_at_ms = when.steady_ms + TELL_EVERY_MS
        return [PPM]

    def is_blank(self, when: When) -> bool:
        return self.running == 0
