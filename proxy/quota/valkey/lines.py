"""What the script is told of a limit: the names of its counts, and its numbers as pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit, room_of
from proxy.core.limits.decisions import INDEX, Used, counts, is_exact
from proxy.core.limits.dimensions import MISSING, OTHERS
from proxy.core.limits.language import SMOOTH_MS, Unit
from proxy.core.limits.limit import Enforce, Limit

BILLION: Final = 10**9
# No amount of a request is larger, so that pairs hold a sum of some: of money as much as a limit
# may have, of all else what is still exact as scaled units of an hour.
_AMOUNT_MAX: Final = tuple(10**24 if unit is Unit.MONEY else 10**18 for unit in Unit)
NEVER: Final = 2**100  # beyond every amount and every time
# How long the count of a window stays behind its end: requests of it still run, and corrections of
# it still come.
KEPT_MS: Final = 2 * 86_400_000

Pair: TypeAlias = tuple[int, int]


def pair(number: int) -> Pair:
    """A number as the script counts: (h, l) of h·10⁹ + l."""
    return divmod(number, BILLION)


def sendable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 has no place for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def bounded(amount: int, index: int) -> int:
    """An amount of a request, within what the script counts exactly."""
    return min(amount, _AMOUNT_MAX[index])


def used_pairs(used: Used) -> list[Pair]:
    """What was used, unit by unit."""
    return [pair(bounded(amount, index)) for index, amount in enumerate(counts(used))]


class LimitWindow(msgspec.Struct):
    """One count of a limit: of one window, or the only one of a rate or of slots.

    `room` is in the count's own measure and valid until `room_until_ms`.
    """

    name: str
    start_ms: int
    end_ms: int
    room: int
    room_until_ms: int
    apart: tuple[str, int, str] | None

    def lasts_ms(self, now_ms: int) -> int:
        """How long the server keeps the count; 0: for ever."""
        return 0 if self.end_ms == NEVER else max(self.end_ms - now_ms, 0) + KEPT_MS


class LimitLine:
    """A limit as the script counts it.

    `scale`: so many of the count's own measure are one unit, since a rate counts units x
    milliseconds. `raised` is set when there is more room than before, until it is looked at.
    """

    __slots__ = (
        "_calendar",
        "_credits",
        "_values_max",
        "exact",
        "index",
        "kind",
        "limit",
        "raised",
        "scale",
        "spans",
        "strict",
        "warns",
    )
    limit: Limit

    def __init__(
        self,
        limit: Limit,
        calendar: Calendar,
        credits: Mapping[str, Mapping[str, Credit]],
        values_max: int,
    ) -> None:
        self.index = INDEX[limit.unit]
        self.scale = SMOOTH_MS[limit.per] if limit.smooth else 1
        self.kind = "B" if limit.windowed else "R" if limit.smooth else "S"
        self._calendar = calendar
        self._credits = credits
        self._values_max = values_max
        self.spans: list[LimitWindow] = []
        self.raised = False
        self._bind(limit)

    def bind(self, limit: Limit) -> None:
        """From now on it has this amount and mode."""
        if limit == self.limit:
            self.limit = limit  # the next look is by identity
        else:
            self._bind(limit)
            self.renew()

    def _bind(self, limit: Limit) -> None:
        self.limit = limit
        self.exact = is_exact(limit)
        self.strict = limit.enforce is Enforce.STRICT
        self.warns = limit.enforce is Enforce.WARN

    def renew(self) -> None:
        """Work the room out again at the next look: the amount or a credit has changed."""
        for span in self.spans:
            span.room_until_ms = 0

    def span_of(self, started_at_ms: int, now_ms: int) -> LimitWindow:
        """The count in which a request of this start counts, with the room that it has now."""
        for span in self.spans:
            if span.start_ms <= started_at_ms < span.end_ms:
                break
        else:
            span = self._make(started_at_ms)
            self.spans = [span, *self.spans[:1]]
        if now_ms >= span.room_until_ms:
            self._measure(span, now_ms)
        return span

    def _make(self, at_ms: int) -> LimitWindow:
        limit = self.limit
        start_ms, end_ms, behind = -NEVER, NEVER, ""
        if limit.windowed:
            found = self._calendar.window(limit.per, at_ms)
            start_ms = found.start_ms
            end_ms = NEVER if found.end_ms is None else found.end_ms
            behind = f":{start_ms}"
        name = self._name(limit.count_id, behind)
        apart = None
        if limit.value not in (None, MISSING, OTHERS):
            apart = (
                "V" + self._name(limit.rule_id, behind),
                self._values_max,
                self._name(limit.of_others().count_id, behind),
            )
        return LimitWindow(name, start_ms, end_ms, 0, 0, apart)

    def _name(self, count_id: str, behind: str) -> str:
        return f"{self.kind}:{sendable(count_id)}{behind}"

    def _measure(self, span: LimitWindow, now_ms: int) -> None:
        limit, before = self.limit, span.room
        span.room_until_ms = NEVER
        if limit.windowed:
            credits = self._credits.get(limit.id, {}).values()
            span.room, span.room_until_ms = room_of(
                limit, credits, span.start_ms, None if span.end_ms == NEVER else span.end_ms, now_ms
            )
        else:
            amount = limit.amount if limit.smooth is False or limit.burst is None else limit.burst
            span.room = amount * self.scale
        self.raised |= span.room > before > 0

    def scaled(self, amount: int) -> Pair:
        """An amount in units, in the count's own measure."""
        return pair(bounded(amount, self.index) * self.scale)

    def standing(self, name: str, lasts_ms: int, hold: int) -> Sequence[Any]:
        """One line of a hold that the store does not know (`join`)."""
        leak = pair(self.limit.amount)
        return (self.kind, name, *self.scaled(hold), self.index + 1, self.scale, lasts_ms, *leak)

    def asking(self, span: LimitWindow, hold: int, now_ms: int) -> Sequence[Any]:
        """One limit of a `reserve`; `hold` is in units."""
        leak = pair(self.limit.amount)
        return (
            self.kind,
            span.name,
            self.exact,
            self.warns,
            *pair(span.room),
            *self.scaled(hold),
            span.lasts_ms(now_ms),
            self.index + 1,
            span.apart or False,
            *leak,
            self.scale,
        )


def number(high: int, low: int) -> int:
    """The number that a pair stands for."""
    return high * BILLION + low
