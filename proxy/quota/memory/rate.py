"""The count of a limit per second, minute or hour: a bucket that leaks."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.limits.gcra import Bucket, Layer, refilled
from proxy.core.limits.language import SMOOTH_MS
from proxy.core.limits.limit import PPM, Limit
from proxy.core.limits.state import LimitState, Refused
from proxy.quota.memory.counter import Clock, LimitCount, When


class Rate(LimitCount):
    """The count of a limit per second, minute or hour."""

    __slots__ = ("_bucket", "_tell_at_ms")

    def __init__(self, limit: Limit, steady_ms: int) -> None:
        super().__init__(limit, SMOOTH_MS[limit.per])
        self._bucket = Bucket(limit.amount, steady_ms)
        self._tell_at_ms = steady_ms

    def _bind(self, limit: Limit) -> None:
        super()._bind(limit)
        self.room = (limit.amount if limit.burst is None else limit.burst) * self.scale

    def change(self, limit: Limit, when: When) -> None:
        self._bucket.change_leak(limit.amount, when.steady_ms)
        self._bind(limit)

    def look(self, when: When) -> int:
        return self.room - self._bucket.flow(when.steady_ms)

    def take(self, hold: int) -> Layer:
        self.running += 1
        return self._bucket.take(hold * self.scale)

    def grow(self, more: int, place: Layer, when: When) -> Layer:
        """What the request took before counts as used by now, so only `more` can come back."""
        self._bucket.flow(when.steady_ms)
        self._bucket.settle(place, 0)
        return self._bucket.take(more * self.scale)

    def settle(self, place: Layer, hold: int, used: int, steady_ms: Clock) -> bool:
        self.running -= 1
        if used <= hold:
            self._bucket.settle(place, (hold - used) * self.scale)
        else:
            self._bucket.settle(place, 0)
            self._bucket.flow(steady_ms())
            self._bucket.spend((used - hold) * self.scale)
        return False

    def rebuild(self, spent: Iterable[tuple[int, int]], since_ms: int, steady_ms: int) -> None:
        """Replay past use, as (when, how many units), from a full bucket at `since_ms` up to now.

        All times are by the steady clock.
        """
        leak = self.limit.amount
        scaled = ((at_ms, used * self.scale) for at_ms, used in spent)
        level = refilled(leak, self.room, scaled, since_ms=since_ms, now_ms=steady_ms)
        self._bucket = Bucket(leak, steady_ms, level)

    def refusal(self, hold: int, when: When) -> Refused:
        """The wait follows from the rate: what was asked for fits later, or never."""
        wait_ms = self._bucket.wait_ms(hold * self.scale if self.exact else 1, self.room)
        return Refused(
            limit=self.limit,
            state=self.state(when),
            wanted=hold,
            retry_after_ms=wait_ms,
            never=wait_ms is None,
        )

    def state(self, when: When) -> LimitState:
        left, level, leak = self.look(when), self._bucket.level, self._bucket.leak
        empty_ms = 0 if level == 0 else None if leak == 0 else -(-level // leak)
        return LimitState(
            limit=self.limit,
            amount=self.limit.amount,
            used=-(-level // self.scale),
            remaining=max(0, left) // self.scale,
            resets_at_ms=None if empty_ms is None else when.now_ms + empty_ms,
        )

    def tells(self, when: When) -> list[int]:
        if when.steady_ms < self._tell_at_ms:
            return []
        self._tell_at_ms = when.steady_ms + self.scale
        return [PPM]

    def is_blank(self, when: When) -> bool:
        self.look(when)
        return self.running == 0 and self._bucket.level == 0
