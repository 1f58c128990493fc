"""The limits of one kind of request as one group: their counters, found once and asked together.

Requests of a key nearly always have the same limits. So the look at all of them and the taking of
all are one call each. It lets through only what each limit surely lets through, with some left:
whatever is not so sure takes the whole way, one limit after another (`MemoryQuota.reserve`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from proxy.core.limits.decisions import Demand, bound_of, expected
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import LimitState
from proxy.quota.memory.budget import NEVER, Budget, Span
from proxy.quota.memory.counter import LimitCount, When


class MemoryReservation(msgspec.Struct, eq=False, gc=False):
    """A reservation, and the moment it was made.

    Of each counter it has what is held there (`holds`), what was taken in the beginning (`taken`),
    and what the counter gave for it (`places`). When it is over, it has no counters.
    """

    ask: Demand
    when: When
    counters: Sequence[LimitCount]
    places: Sequence[Any]
    taken: Sequence[int]
    holds: Sequence[int]
    strict: bool  # whether what was taken is a bound somewhere
    exceeded: tuple[Limit, ...]
    least: LimitCount | None  # the caller's own limit with the smallest share left
    open: bool = True

    @property
    def exchange_id(self) -> str:
        return self.ask.exchange_id

    @property
    def tightest(self) -> LimitState | None:
        return None if self.least is None else self.least.state(self.when)

    def drop(self, places: Container[int]) -> None:
        """Nothing is held any more at these places."""
        kept = [place for place in range(len(self.counters)) if place not in places]
        self.counters = [self.counters[place] for place in kept]
        self.places = [self.places[place] for place in kept]
        self.taken = [self.taken[place] for place in kept]
        self.holds = [self.holds[place] for place in kept]


class Group:
    """The counters of these limits, in their order.

    The store says by its version when `is_still` has to be asked. The windows (`_spans`) are those
    of the budgets among the counters, valid from `_from_ms` to `_until_ms`; None stands for others.
    """

    __slots__ = (
        "_budgets",
        "_counters",
        "_from_ms",
        "_limits",
        "_others",
        "_pick",
        "_spans",
        "_strict",
        "_until_ms",
        "version",
    )

    def __init__(
        self, limits: Sequence[Limit], counters: Sequence[LimitCount], version: int
    ) -> None:
        self.version = version
        self._limits = limits
        self._counters = tuple(counters)
        by_place = tuple(enumerate(self._counters))
        self._budgets = [one for one in by_place if isinstance(one[1], Budget)]
        self._others = [one for one in by_place if not isinstance(one[1], Budget)]
        self._pick = _picker([counter.index for counter in counters])
        self._strict = any(counter.strict for counter in counters)
        self._spans: tuple[Span | None, ...] = ()
        self._from_ms = self._until_ms = 0

    def is_still(self, version: int, known: Mapping[str, LimitCount]) -> bool:
        """Whether these are still the counters of these limits, now that something has changed."""
        self._until_ms = 0  # a credit may have changed how much room there is
        for counter, limit in zip(self._counters, self._limits, strict=True):
            if known.get(limit.count_id) is not counter or counter.limit is not limit:
                return False
        self.version = version
        return True

    def reserve(self, ask: Demand, when: When) -> MemoryReservation | None:
        """Take what the request is expected to use of every limit.

        None: one of them may not let it through, or it takes the last of one. Then nothing is
        taken.
        """
        if not self._from_ms <= ask.started_at_ms <= when.now_ms < self._until_ms:
            self._turn(when)
        counters = self._counters
        spans = self._spans
        holds = self._bounds(ask) if self._strict else self._pick(expected(ask))
        tightest: LimitCount | None = None
        least = most = 1
        # All three have one entry a limit, and `strict` would cost time here.
        for counter, span, hold in zip(counters, spans, holds):  # noqa: B905
            if span is not None:
                left = span.left - hold
                room = span.room
            else:
                left = counter.look(when) - hold * counter.scale
                room = counter.room
            if left <= 0:
                return None
            if (tightest is None or left * most < least * room) and not counter.shared:
                tightest = counter
                least = left
                most = room
        places: list[Any] = [*spans]
        for place, budget in self._budgets:  # as `Budget.take`, without the call
            places[place].left -= holds[place]
            budget.running += 1
        for place, counter in self._others:
            places[place] = counter.take(holds[place])
        return MemoryReservation(
            ask, when, counters, places, holds, holds, self._strict, (), tightest
        )

    def _turn(self, when: When) -> None:
        """Find the windows of the request's start, with the room that they have now."""
        self._spans = tuple(
            counter.span_of(when) if isinstance(counter, Budget) else None
            for counter in self._counters
        )
        spans = [span for span in self._spans if span is not None]
        self._from_ms = max((span.start_ms for span in spans), default=0)
        self._until_ms = min(
            (min(span.end_ms, span.room_until_ms) for span in spans), default=NEVER
        )

    def _bounds(self, ask: Demand) -> Sequence[int]:
        likely = expected(ask)
        return [
            bound_of(counter.limit, ask) if counter.strict else likely[counter.index]
            for counter in self._counters
        ]


def _picker(indexes: Sequence[int]) -> Callable[[tuple[int, ...]], Sequence[int]]:
    """Of amounts unit by unit, those at these places."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    return lambda amounts: [amounts[index] for index in indexes]
