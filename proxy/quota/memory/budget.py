"""The count of a day, week, month or total: what was used and what is held, by calendar window."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import fits, may_grow
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import PPM, Limit
from proxy.core.limits.state import LimitState, Refused
from proxy.quota.memory.counter import HELD_RETRY_MS, Clock, Held, LimitCount, When

NEVER = 2**100  # beyond every amount and every time


class Span:
    """A window of a budget, with what is used and held in it.

    `room` is valid until `room_until_ms`. `alarm` is the use at which the next warning is due.
    """

    __slots__ = ("alarm", "end_ms", "held", "room", "room_until_ms", "start_ms", "told_ppm", "used")

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.used = 0
        self.held = 0
        self.room = 0
        self.room_until_ms = 0
        self.told_ppm: frozenset[int] = frozenset()
        self.alarm = NEVER


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
        self._shares_ppm = (
            limit.warn_at_ppm
            if limit.refuses or PPM in limit.warn_at_ppm
            else (*limit.warn_at_ppm, PPM)
        )
        self.renew()

    def renew(self) -> None:
        """Work the room out again at the next look: the amount or a credit has changed."""
        self._span.room_until_ms = self._other.room_until_ms = 0

    def look(self, when: When) -> int:
        """Select the window of the request's start; return how much of it is left."""
        span = self._span
        if not span.start_ms <= when.started_at_ms < span.end_ms:
            span = self._turn(when.started_at_ms)
        if when.now_ms >= span.room_until_ms:
            self._measure(span, when.now_ms)
        self.room = room = span.room
        return room - span.used - span.held

    def _turn(self, at_ms: int) -> Span:
        other = self._other
        if not other.start_ms <= at_ms < other.end_ms:
            found = self._calendar.window(self.limit.per, at_ms)
            other = Span(found.start_ms, NEVER if found.end_ms is None else found.end_ms)
        self._span, self._other = other, self._span
        return other

    def _measure(self, span: Span, now_ms: int) -> None:
        """Work out the room of a window, how long that is valid, and when to warn next."""
        room, until_ms = self.limit.amount, NEVER
        counts_in = self.limit.unit if self.limit.currency is None else self.limit.currency
        for credit in self._credits.get(self.limit.id, {}).values():
            if credit.unit is not None and credit.unit != counts_in:
                continue
            if credit.valid_until_ms is None:
                valid = span.end_ms == NEVER or span.start_ms <= credit.granted_at_ms < span.end_ms
            elif valid := now_ms < credit.valid_until_ms:
                until_ms = min(until_ms, credit.valid_until_ms)
            room += credit.amount if valid else 0
        span.room, span.room_until_ms = room, until_ms
        # When more room puts a share out of reach again, it is told again once it is reached.
        self._told(span, span.told_ppm.intersection(self._reached(span)))

    def _reached(self, span: Span) -> list[int]:
        return [share for share in self._shares_ppm if span.used >= _part(span.room, share)]

    def _told(self, span: Span, told_ppm: frozenset[int]) -> None:
        span.told_ppm = told_ppm
        span.alarm = min(
            (_part(span.room, share) for share in self._shares_ppm if share not in told_ppm),
            default=NEVER,
        )

    def take(self, hold: int) -> Held:
        span = self._span
        span.held += hold
        self.running += 1
        return Held(self, span, hold, 0, hold if self.strict else None)

    def may_grow(self, more: int, line: Held, when: When) -> bool:
        """Whether the line may take more in the window of its start, which may be over."""
        span = line.place
        assert isinstance(span, Span)
        if when.now_ms >= span.room_until_ms:
            self._measure(span, when.now_ms)
        return may_grow(self.limit, more, span.room - span.used - span.held)

    def grow(self, more: int, line: Held, when: When) -> None:
        span = line.place
        assert isinstance(span, Span)
        span.held += more
        line.held += more

    def settle(self, line: Held, used: int, steady_ms: Clock) -> bool:
        span = line.place
        assert isinstance(span, Span)
        span.held -= line.held
        span.used += used
        self.running -= 1
        return span.used >= span.alarm

    def add(self, used: int, when: When) -> bool:
        """Count use that no line holds: the past, and corrections.

        A window that is over and no longer kept stays as it was. Returns whether a warning is due.
        """
        at_ms = when.started_at_ms
        if not any(span.start_ms <= at_ms < span.end_ms for span in (self._span, self._other)):
            end_ms = self._calendar.window(self.limit.per, at_ms).end_ms
            if end_ms is not None and end_ms <= when.now_ms:
                return False
        self.look(when)
        self._span.used += used
        return self._span.used >= self._span.alarm

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
        return Refused(
            limit=self.limit,
            state=self.state(when),
            wanted=hold,
            retry_after_ms=HELD_RETRY_MS if by_holds else None,
            never=never,
            by_holds=by_holds,
        )

    def state(self, when: When) -> LimitState:
        left, span = self.look(when), self._span
        return LimitState(
            limit=self.limit,
            amount=self.limit.amount,
            granted=span.room - self.limit.amount,
            used=span.used,
            held=span.held,
            remaining=max(0, left),
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


def _part(room: int, share_ppm: int) -> int:
    """The least use that is this share of the room."""
    return -(-max(room, 0) * share_ppm // PPM)
