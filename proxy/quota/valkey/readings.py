"""What the script answers of a count: how it stands, and what a refusal by it says."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.limits.decisions import fits
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Limit, shares_reached
from proxy.core.limits.state import HELD_RETRY_MS, LimitState, Refused
from proxy.quota.valkey.lines import NEVER, LimitLine, LimitWindow, number

_NUMBERS = msgspec.msgpack.Decoder(list[int])
_NOTHING = (0,) * 12


class Reading:
    """The count of one limit at one moment of the server's clock.

    `at_ms` is that moment, `now_ms` the same by the clock of this process.
    """

    __slots__ = ("_limit", "_line", "_now_ms", "_span", "held", "told_ppm", "used")

    def __init__(
        self,
        line: LimitLine,
        span: LimitWindow,
        raw: bytes | None,
        at_ms: int,
        now_ms: int,
        limit: Limit,
    ) -> None:
        self._line = line
        self._span = span
        self._now_ms = now_ms
        self._limit = limit
        told: Sequence[int] = _NUMBERS.decode(raw) if raw else _NOTHING
        self.used = number(told[0], told[1])  # of a rate: its level, in scaled units
        self.held = 0
        self.told_ppm = 0
        if line.kind == "R":
            elapsed_ms = max(at_ms - told[2], 0) if raw else 0
            self.used = max(self.used - elapsed_ms * number(told[3], told[4]), 0)
        else:
            self.held, self.told_ppm = number(told[2], told[3]), told[4]

    @property
    def left(self) -> int:
        """How much is left, in the count's own measure."""
        return self._span.room - self.used - self.held

    def lets_through(self, hold: int) -> bool:
        """Whether a request that takes so many units fits."""
        return fits(self._line.exact, hold * self._line.scale, self.left)

    def reached_ppm(self, used_up: bool = False) -> int:
        """The highest share to tell that its use has reached; 0: none."""
        room = self._span.room
        return reached_ppm(self._limit, max(self.used, room) if used_up else self.used, room)

    @property
    def tightness(self) -> tuple[int, int]:
        """The rest and the whole, as a ratio; the rest is at least 0."""
        return max(self.left, 0), self._span.room

    def state(self) -> LimitState:
        limit, line, span = self._limit, self._line, self._span
        room, left = span.room, self.left
        if line.kind == "R":
            level, leak = self.used, line.limit.amount
            empty_ms = 0 if level == 0 else None if leak == 0 else -(-level // leak)
            return LimitState(
                limit=limit,
                amount=line.limit.amount,
                used=-(-level // line.scale),
                remaining=max(0, left) // line.scale,
                resets_at_ms=None if empty_ms is None else self._now_ms + empty_ms,
            )
        if line.kind == "S":
            return LimitState(
                limit=limit, amount=room, used=self.held, remaining=max(0, room - self.held)
            )
        return LimitState(
            limit=limit,
            amount=line.limit.amount,
            granted=room - line.limit.amount,
            used=self.used,
            held=self.held,
            remaining=max(0, left),
            resets_at_ms=None if span.end_ms == NEVER else span.end_ms,
        )

    def refusal(self, hold: int) -> Refused:
        """What a request is told that does not fit."""
        line, room = self._line, self._span.room
        wait_ms: int | None = HELD_RETRY_MS
        by_holds = False
        if line.kind == "R":
            excess = self.used + (hold * line.scale if line.exact else 1) - room
            asks_too_much = (hold * line.scale if line.exact else 1) > room
            never = asks_too_much or line.limit.amount == 0
            wait_ms = None if never else -(-excess // line.limit.amount)
        elif line.kind == "S":
            never = room == 0
            wait_ms = None if never else HELD_RETRY_MS
        else:
            never = room <= 0 or (line.exact and hold > room)
            by_holds = (
                not never
                and line.limit.unit is not Unit.REQUESTS
                and fits(line.exact, hold, room - self.used)
            )
            wait_ms = HELD_RETRY_MS if by_holds else None
        return Refused(
            limit=self._limit,
            state=self.state(),
            wanted=hold,
            retry_after_ms=wait_ms,
            never=never,
            by_holds=by_holds,
        )


def reached_ppm(limit: Limit, used: int, room: int) -> int:
    """The highest share to tell that this use of a budget has reached; 0: none."""
    return max(shares_reached(limit, used, room), default=0)
