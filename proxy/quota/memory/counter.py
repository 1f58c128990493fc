"""One limit's running count, whatever its kind: `Budget` (budget.py), `Rate` (rate.py) or `Slots`
(slots.py).

They share one small language: `look` says what is left, `take` takes of what was just looked at,
`settle` ends what was taken. A store looks at all counters of
a request before it takes of any. Amounts inside are in the counter's own measure (of a rate, units
x milliseconds): `scale` of them are one unit.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proxy.core.limits.decisions import INDEX, is_exact, may_grow
from proxy.core.limits.limit import Enforce, Limit
from proxy.core.limits.state import LimitState, Refused

HELD_RETRY_MS = 1000  # when to look again for what other requests hold: nobody knows when they end


Clock = Callable[[], int]  # milliseconds that nobody sets


class When(msgspec.Struct, frozen=True, gc=False):
    """The three times of a step: the start that the record states, the time of day, and a clock
    that nobody sets."""

    started_at_ms: int
    now_ms: int
    steady_ms: int


class Held(msgspec.Struct, eq=False, gc=False):
    """What one request holds of one limit: `held` units in `place`, of which at most `back` come
    back to a rate; more than `bound` is a breach (strict only)."""

    counter: LimitCount
    place: object
    held: int
    back: int
    bound: int | None


class LimitCount:
    """What all kinds share. `room` is how much there is, as of the last look; `running` requests
    have lines here, so it must not be forgotten."""

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
        """The same count under another amount or mode."""
        self._bind(limit)

    def look(self, when: When) -> int:
        """How much is left; nothing or less, where more is taken than there is."""
        raise NotImplementedError

    def take(self, hold: int) -> Held:
        """Whether it may is the caller's question, who has just looked."""
        raise NotImplementedError

    def may_grow(self, more: int, line: Held, when: When) -> bool:
        """Whether a line may take `more` units."""
        return may_grow(self.limit, more * self.scale, self.look(when))

    def grow(self, more: int, line: Held, when: When) -> None:
        """The line takes `more`."""

    def settle(self, line: Held, used: int, steady_ms: Clock) -> bool:
        """The line ends with what was used. Whether there may be something to warn of. The clock is
        read only where it matters."""
        raise NotImplementedError

    def refusal(self, hold: int, when: When) -> Refused:
        """What there is to say to a request that does not fit."""
        raise NotImplementedError

    def state(self, when: When) -> LimitState:
        raise NotImplementedError

    def tells(self, when: When) -> list[int]:
        """The shares to warn of, in millionths, once each."""
        raise NotImplementedError

    def is_blank(self, when: When) -> bool:
        """Whether a new counter would say just the same."""
        raise NotImplementedError
