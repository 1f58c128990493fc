"""What one request holds in the shared store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.core.limits.decisions import Demand
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import LimitState
from proxy.quota import Reservation
from proxy.quota.valkey.calls import Epoch
from proxy.quota.valkey.lines import LimitLine, LimitWindow, Pair
from proxy.quota.valkey.readings import Reading
from proxy.quota.valkey.requests import told


class Look(msgspec.Struct, eq=False, gc=False):
    """The counts of a request's limits as the server answered, read only where they are wanted."""

    lines: Sequence[LimitLine]
    spans: Sequence[LimitWindow]
    raws: Sequence[bytes | None]
    together: Sequence[int]  # the places of values that are counted with others
    at_ms: int
    now_ms: int

    def reading(self, place: int) -> Reading:
        line = self.lines[place]
        limit = line.limit.of_others() if place in self.together else line.limit
        return Reading(line, self.spans[place], self.raws[place], self.at_ms, self.now_ms, limit)

    def states(self) -> tuple[LimitState, ...]:
        return tuple(self.reading(place).state() for place in range(len(self.lines)))

    def tightest(self) -> LimitState | None:
        """The state of the caller's own limit with the smallest share left."""
        found: Reading | None = None
        least, most = 1, 1
        for place, line in enumerate(self.lines):
            if line.limit.shared:
                continue
            reading = self.reading(place)
            left, room = reading.tightness
            if found is None or left * most < least * room:
                found, least, most = reading, left, room
        return None if found is None else found.state()

    def name(self, place: int) -> str:
        """Where a limit is counted."""
        span = self.spans[place]
        return span.apart[2] if span.apart and place in self.together else span.name


class SharedReservation(msgspec.Struct, eq=False):
    """A reservation in the shared store.

    `epoch` is the one in which the store knows of it; None: it passed while the store was away.
    `own` is what it then holds of the limits that this process counts for itself.
    """

    ask: Demand
    look: Look
    taken: Sequence[int]
    holds: Sequence[int]
    strict: bool
    exceeded: tuple[Limit, ...]
    epoch: Epoch | None
    own: Reservation | None = None
    open: bool = True
    slots_free: bool = False
    output: int = 0  # tokens that are held for the answer
    seen: LimitState | None = None

    @property
    def exchange_id(self) -> str:
        return self.ask.exchange_id

    @property
    def attempt(self) -> str:
        """Its name in the store.

        One that passed while the store was away has another than its `reserve` had, since that
        was called off.
        """
        return self.ask.exchange_id if self.own is None else f"{self.ask.exchange_id}+"

    @property
    def tightest(self) -> LimitState | None:
        if self.seen is None and self.epoch is not None:
            self.seen = self.look.tightest()
        return self.seen

    def joining(self, used: Sequence[Pair] | None) -> Sequence[Any]:
        """What a store that does not know of it is told (`join`); `used` None: it still runs."""
        look = self.look
        lines = [
            line.standing(
                look.name(place),
                span.lasts_ms(look.now_ms),
                0 if line.kind == "S" and self.slots_free else hold,
            )
            for place, (line, span, hold) in enumerate(
                zip(look.lines, look.spans, self.holds, strict=True)
            )
        ]
        request = "" if used is not None else told(self.ask)
        return (self.attempt, lines, False if used is None else used, request, self.output)
