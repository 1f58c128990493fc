"""The count of a day, week, month or total: what was used and what is held, by calendar window."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit, room_of
from proxy.core.limits.decisions import fits, may_grow
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Limit, share_of, shares_reached
from proxy.core.limits.state import HELD_RETRY_MS, LimitState, Refused
from proxy.quota.memory.counter import Clock, LimitCount, When

NEVER = 2**100  # beyond every amount and every time


class Span:
    """A window of a budget: what is used in it, and how much is left.

    `room` and `left` are valid until `room_until_ms`. `alarm` is the use at which the next warning
    is due. `refused`: it had too little for a request, and no running one holds the rest. So it is
    used up, also where a little is left.
    """

    __slots__ = (
        "alarm",
        "end_ms",
        "left",
        "refused",
        "room",
        "room_until_ms",
        "start_ms",
        "told_ppm",
        "used",
    )

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.used = 0
        self.left = 0
        self.room = 0
        self.room_until_ms = 0
        self.refused = False
        self.told_ppm: frozenset[int] = frozenset()
        self.alarm = NEVER

    @property
    def held(self) -> int:
        """What running requests hold."""
        return self.room - self.used - self.left


class Budget(LimitCount):
    """The count of a limit per day, week, month or in total.

    It keeps two windows: requests of the old one still run when the new one begins.
    """

    __slots__ = ("_calendar", "_credits", "_other", "_shares_ppm", "_span")

    def __init__(
        self, limit: Limit, calendar: Calendar, credits: Mapping[str, Mapping[str, Credit]]
    ) -> None:
        self._span = self._other = Span(0, 0)
        super().__init__(limit)
        self._calendar = calendar
        self._credits = credits  # of all limits, by limit; looked up again when they change

    def _bind(self, limit: Limit) -> None:
        super()._bind(limit)
        self._shares_ppm = limit.told_at_ppm
        self.renew()

    def renew(self) -> None:
        """Work the room out again at the next look: the amount or a credit has changed."""
        self._span.room_until_ms = self._other.room_until_ms = 0

    def look(self, when: When) -> int:
        """Select the window of the request's start; return how much of it is left."""
        span = self.span_of(when)
        self.room = span.room
        return span.left

    def span_of(self, when: When) -> Span:
        """Select the window of the request's start, with the room that it has now."""
        span = self._span
        if not span.start_ms <= when.started_at_ms < span.end_ms:
            span = self._turn(when.started_at_ms)
        if when.now_ms >= span.room_until_ms:
            self._measure(span, when.now_ms)
        return span

    def _turn(self, at_ms: int) -> Span:
        other = self._other
        if not other.start_ms <= at_ms < other.end_ms:
            found = self._calendar.window(self.limit.per, at_ms)
            other = Span(found.start_ms, NEVER if found.end_ms is None else found.end_ms)
        self._span, self._other = other, self._span
        return other

    def _measure(self, span: Span, now_ms: int) -> None:
        """Work out the room of a window, how long that is valid, and when to warn next."""
        credits = self._credits.get(self.limit.id, {}).values()
        end_ms = None if span.end_ms == NEVER else span.end_ms
        room, until_ms = room_of(self.limit, credits, span.start_ms, end_ms, now_ms)
        span.left += room - span.room
        span.room, span.room_until_ms, span.refused = room, until_ms, False
        # When more room puts a share out of reach again, it is told again once it is reached.
        self._told(span, span.told_ppm.intersection(self._reached(span)))

    def _reached(self, span: Span) -> list[int]:
        used = max(span.used, span.room) if span.refused else span.used
        return shares_reached(self.limit, used, span.room)

    def _told(self, span: Span, told_ppm: frozenset[int]) -> None:
        span.told_ppm = told_ppm
        span.alarm = min(
            (share_of(span.room, share) for share in self._shares_ppm if share not in told_ppm),
            default=NEVER,
        )

    def take(self, hold: int) -> Span:
        span = self._span
        span.left -= hold
        self.running += 1
        return span

    def may_grow(self, more: int, place: Span, when: When) -> bool:
        """Whether a request may take more in the window of its start, which may be over."""
        if when.now_ms >= place.room_until_ms:
            self._measure(place, when.now_ms)
        return may_grow(self.limit, more, place.left)

    def grow(self, more: int, place: Span, when: When) -> Span:
        place.left -= more
        return place

    def settle(self, place: Span, hold: int, used: int, steady_ms: Clock) -> bool:
        place.left += hold - used
        place.used = now_used = place.used + used
        self.running -= 1
        return now_used >= place.alarm

    def add(self, used: int, when: When) -> bool:
        """Count use that no line holds: the past, and corrections.

        A window that is over and no longer kept stays as it was. Returns whether a warning is due.
        """
        at_ms = when.started_at_ms
        if not any(span.start_ms <= at_ms < span.end_ms for span in (self._span, self._other)):
            end_ms = self._calendar.window(self.limit.per, at_ms).end_ms
            if end_ms is not None and end_ms <= when.now_ms:
                return False
        span = self.span_of(when)
        span.used += used
        span.left -= used
        return span.used >= span.alarm

    def hush(self) -> None:
        """Mark thresholds already passed as told, so that a restart does not warn again."""
        for span in (self._span, self._other):
            self._told(span, frozenset(self._reached(span)))

    def refusal(self, hold: int, when: When) -> Refused:
        self.look(when)
        span = self._span
        never = span.room <= 0 or (self.exact and hold > span.room)
        by_holds = (
            not never
            and self.limit.unit is not Unit.REQUESTS
            and fits(self.exact, hold, span.room - span.used)
        )
        span.refused |= not (never or by_holds)
        return Refused(
            limit=self.limit,
            state=self.state(when),
            wanted=hold,
            retry_after_ms=HELD_RETRY_MS if by_holds else None,
            never=never,
            by_holds=by_holds,
        )

    def state(self, when: When) -> LimitState:
        span = self.span_of(when)
        room, used, left, amount = span.room, span.used, span.left, self.limit.amount
        return LimitState(
            limit=self.limit,
            amount=amount,
            granted=room - amount,
            used=used,
            held=room - used - left,
            remaining=left if left > 0 else 0,
            resets_at_ms=None if span.end_ms == NEVER else span.end_ms,
        )

    def tells(self, when: When) -> list[int]:
        self.look(when)
        span = self._span
        new = [share for share in self._reached(span) if share not in span.told_ppm]
        self._told(span, span.told_ppm.union(new))
        return new

    def is_blank(self, when: When) -> bool:
        return self.running == 0 and all(
            span.end_ms <= when.now_ms or span.used == 0 for span in (self._span, self._other)
        )
