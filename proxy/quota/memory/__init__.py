"""The quota in the memory of this process. It ends with the process.

Everything runs on one event loop, and `reserve` does not await. So it looks at all counters of a
request and then takes of all, and no other request can come between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import TypeAlias

import msgspec

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used, bound_of, counts, expected, fits
from proxy.core.limits.limit import Enforce, Limit, Scope
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import LimitState, Refused, lasts
from proxy.quota import (
    VALUES_MAX,
    Breach,
    Crossing,
    Past,
    QuotaError,
    Reservation,
    SharedOptions,
    SilentHolds,
)
from proxy.quota.memory.budget import Budget
from proxy.quota.memory.counter import LimitCount, When
from proxy.quota.memory.counters import COUNTERS_MAX, Counters
from proxy.quota.memory.group import Group, MemoryReservation
from proxy.quota.memory.rate import Rate
from proxy.quota.memory.slots import Slots

RESTORED_AT_ONCE = 1_000  # entries between two turns of the event loop: a few milliseconds
# Remembered groups of limits. Clients make up some of the names behind them, as in `Rules`.
GROUPS_MAX = 16_384
_PastUse: TypeAlias = tuple[Limit, list[tuple[int, Used]]]
ANOTHER_STORE = "a reservation is resolved by the store that made it"


async def connect(
    url: str,
    zone: tzinfo,
    *,
    monotonic_ms: Callable[[], int],
    options: SharedOptions,
    values_max: int = VALUES_MAX,
) -> MemoryQuota:
    """A new, empty store. Nothing of `options` concerns it."""
    if url != "memory:":
        raise QuotaError(
            f"quota.url {url!r}: this store takes nothing behind the colon; write memory:"
        )
    return MemoryQuota(zone, monotonic_ms, values_max=values_max)


class MemoryQuota:
    """The store behind `proxy.quota.Quota`. Use it on the event loop only, not from a thread."""

    def __init__(
        self,
        zone: tzinfo,
        monotonic_ms: Callable[[], int],
        *,
        counters_max: int = COUNTERS_MAX,
        values_max: int = VALUES_MAX,
    ) -> None:
        # How often a reservation was ended a second time: a fault of ours that changes nothing.
        self.resolved_twice = 0
        self.failures = 0  # it always answers
        self.silent = SilentHolds()  # no other process counts here
        self._monotonic_ms = monotonic_ms
        self._credits: dict[str, dict[str, Credit]] = {}
        self._counters = Counters(
            Calendar(zone), self._credits, counters_max=counters_max, values_max=values_max
        )
        self._groups: dict[int, Group] = {}  # by the identity of their limits
        self._crossings: dict[tuple[str, int], Crossing] = {}
        self._breaches: dict[str, Breach] = {}

    @property
    def shared(self) -> None:
        """None: the counts cannot be lost while this process lives."""
        return None

    async def reserve(
        self, limits: Sequence[Limit], ask: Demand, now_ms: int
    ) -> Reservation | Refused:
        when = When(ask.started_at_ms, now_ms, self._monotonic_ms())
        group, known = self._groups.get(id(limits)), self._counters
        if group is not None and (
            group.version == known.version or group.is_still(known.version, known.known)
        ):
            reserved = group.reserve(ask, when)
            if reserved is not None:
                return reserved
        outcome = self._one_by_one(limits, ask, when)
        if (
            (group is None or group.version != known.version)
            and type(limits) is LimitSet
            and isinstance(outcome, MemoryReservation)
            and all(limit.value is None for limit in limits)  # those are made for each request
        ):
            self._remember(limits)
        known.sweep(when)
        return outcome

    def _one_by_one(
        self, limits: Sequence[Limit], ask: Demand, when: When
    ) -> MemoryReservation | Refused:
        """Look at all limits, then take of all. A group's short way agrees with it."""
        likely = expected(ask)
        known = self._counters.known
        counters: list[LimitCount] = []
        holds: list[int] = []
        exceeded: tuple[LimitCount, ...] = ()
        refusing: tuple[int, ...] = ()
        tightest: LimitCount | None = None
        least, most = 1, 1
        for limit in limits:
            counter = known.get(limit.count_id)
            if counter is None or counter.limit is not limit:
                counter = self._counters.of(limit, when)
            hold = bound_of(limit, ask) if counter.strict else likely[counter.index]
            counters.append(counter)
            holds.append(hold)
            scaled = hold * counter.scale
            left = counter.look(when)
            # As `fits` says, without the call.
            if not (scaled <= left if counter.exact else left > 0):
                if limit.enforce is Enforce.WARN:
                    exceeded += (counter,)
                else:
                    refusing += (len(holds) - 1,)
            left = left - scaled if left > scaled else 0
            if not counter.shared and (tightest is None or left * most < least * counter.room):
                tightest, least, most = counter, left, counter.room
        if refusing:
            return self._refused(
                counters, [(counters[place], holds[place]) for place in refusing], when
            )
        places = [counter.take(hold) for counter, hold in zip(counters, holds, strict=True)]
        for counter in exceeded:
            self._tell(counter, when)
        strict = any(counter.strict for counter in counters)
        beyond = tuple(counter.limit for counter in exceeded)
        return MemoryReservation(
            ask, when, counters, places, holds, holds, strict, beyond, tightest
        )

    def _remember(self, limits: LimitSet) -> None:
        """The next request with these very limits finds their counters at once.

        The group keeps the limits alive, so no others can go by their identity.
        """
        if len(self._groups) >= GROUPS_MAX:
            self._groups.clear()
        counters = [self._counters.known[limit.count_id] for limit in limits]
        self._groups[id(limits)] = Group(limits, counters, self._counters.version)

    async def refusal(self, limits: Sequence[Limit], ask: Demand, now_ms: int) -> Refused | None:
        when = When(ask.started_at_ms, now_ms, self._monotonic_ms())
        likely = expected(ask)
        counters = [self._counters.seen(limit, when) for limit in limits]
        refusing: list[tuple[LimitCount, int]] = []
        for counter in counters:
            hold = bound_of(counter.limit, ask) if counter.strict else likely[counter.index]
            fit = fits(counter.exact, hold * counter.scale, counter.look(when))
            if not fit and counter.limit.refuses:
                refusing.append((counter, hold))
        return self._refused(counters, refusing, when) if refusing else None

    def _refused(
        self, counters: Sequence[LimitCount], refusing: Sequence[tuple[LimitCount, int]], when: When
    ) -> Refused:
        """The refusal of the limit that refuses longest.

        A client that waited for another limit would be refused again.
        """
        found = max((counter.refusal(hold, when) for counter, hold in refusing), key=lasts)
        for counter, _ in refusing:
            if counter.limit.windowed:
                self._tell(counter, when)  # used up, if the refusal said so
        return msgspec.structs.replace(
            found, states=tuple(counter.state(when) for counter in counters)
        )

    async def extend(
        self, reservation: Reservation, output_tokens: int, charge_nano: int | None, now_ms: int
    ) -> LimitState | None:
        assert isinstance(reservation, MemoryReservation), ANOTHER_STORE
        when = self._when(reservation, now_ms)
        ask = reservation.ask
        likely = expected(
            msgspec.structs.replace(
                ask,
                output_tokens=output_tokens,
                charge_nano=ask.charge_nano if charge_nano is None else charge_nano,
            )
        )
        counters, places, holds = reservation.counters, reservation.places, reservation.holds
        growing = [
            (place, counter, more)
            for place, counter in enumerate(counters)
            if (more := likely[counter.index] - holds[place]) > 0
        ]
        for place, counter, more in growing:
            if not counter.may_grow(more, places[place], when):
                return counter.state(when)
        grown_places, grown = [*places], [*holds]
        for place, counter, more in growing:
            grown_places[place] = counter.grow(more, places[place], when)
            grown[place] += more
        reservation.places, reservation.holds = grown_places, grown
        return None

    def settle(self, reservation: Reservation, used: Used, now_ms: int) -> None:
        held = self._closed(reservation)
        counters = held.counters
        held.counters = ()
        amounts, clock = counts(used), self._monotonic_ms
        # All three have one entry a counter, but of a reservation that is over, which has none.
        for counter, place, hold in zip(counters, held.places, held.holds):  # noqa: B905
            if counter.settle(place, hold, amounts[counter.index], clock):
                self._tell(counter, self._when(held, now_ms))
        if held.strict:
            for counter, bound in zip(counters, held.taken, strict=False):
                amount = amounts[counter.index]
                if counter.strict and amount > bound:
                    self._breach(counter.limit, bound, amount)

    def void(self, reservation: Reservation, now_ms: int) -> None:
        held = self._closed(reservation)
        for counter, place, hold in zip(held.counters, held.places, held.holds, strict=False):
            counter.settle(place, hold, 0, self._monotonic_ms)
        held.counters = ()

    def release_slots(self, reservation: Reservation) -> None:
        assert isinstance(reservation, MemoryReservation), ANOTHER_STORE
        slots = [
            place
            for place, counter in enumerate(reservation.counters)
            if isinstance(counter, Slots)
        ]
        for place in slots:
            counter, hold = reservation.counters[place], reservation.holds[place]
            counter.settle(None, hold, 0, self._monotonic_ms)
        if slots:
            reservation.drop(slots)

    def grant(self, credit: Credit, now_ms: int) -> None:
        self._credits.setdefault(credit.limit_id, {}).setdefault(credit.id, credit)
        self._counters.changed()
        for counter in self._counters.known.values():
            if isinstance(counter, Budget) and counter.limit.id == credit.limit_id:
                counter.renew()

    def adjust(self, limits: Sequence[Limit], started_at_ms: int, used: Used, now_ms: int) -> None:
        when = When(started_at_ms, now_ms, self._monotonic_ms())
        amounts = counts(used)
        for limit in limits:
            if limit.windowed:
                if self._counters.has_no_room_for(limit):
                    continue  # requests under this limit are refused for lack of room, too
                counter = self._counters.of(limit, when)
                assert isinstance(counter, Budget)
                if counter.add(amounts[counter.index], when):
                    self._tell(counter, when)

    async def restore(
        self, past: Iterable[Past], credits: Iterable[Credit], *, since_ms: int, now_ms: int
    ) -> bool:
        for credit in credits:
            self.grant(credit, now_ms)
        by_limit: dict[str, _PastUse] = {}
        for number, entry in enumerate(past, 1):
            if number % RESTORED_AT_ONCE == 0:
                await asyncio.sleep(0)
            for limit in entry.limits:
                if limit.count_id not in self._counters.known:
                    by_limit.setdefault(limit.count_id, (limit, []))[1].append(
                        (entry.started_at_ms, entry.used)
                    )
        steady_ms = self._monotonic_ms()
        apart_ms = steady_ms - now_ms
        within = self._counters.within_bound(limit for limit, _ in by_limit.values())
        bounded: dict[str, _PastUse] = {}
        for (_, entries), limit in zip(by_limit.values(), within, strict=True):
            bounded.setdefault(limit.count_id, (limit, []))[1].extend(entries)
        # There may be more keys than there is room for, so shared limits come first.
        done = 0
        for limit, entries in sorted(bounded.values(), key=lambda one: one[0].scope is Scope.KEY):
            if self._counters.has_no_room_for(limit) or limit.count_id in self._counters.known:
                continue
            done += len(entries)
            if done >= RESTORED_AT_ONCE:
                done = 0
                await asyncio.sleep(0)
            counter = self._counters.of(limit, When(now_ms, now_ms, steady_ms))
            amounts = [
                (started_at_ms, counts(used)[counter.index]) for started_at_ms, used in entries
            ]
            if isinstance(counter, Budget):
                for started_at_ms, amount in amounts:
                    counter.add(amount, When(started_at_ms, now_ms, steady_ms))
                counter.hush()
            elif isinstance(counter, Rate):
                counter.rebuild(
                    ((at_ms + apart_ms, amount) for at_ms, amount in amounts),
                    since_ms + apart_ms,
                    steady_ms,
                )
        return True

    def forget(self, limits: Iterable[Limit], *, everywhere: bool = False) -> None:
        self._counters.forget(limits)
        self._groups.clear()

    async def states(self, limits: Iterable[Limit], now_ms: int) -> list[LimitState]:
        when = When(now_ms, now_ms, self._monotonic_ms())
        return [self._counters.seen(limit, when).state(when) for limit in limits]

    def limits(self) -> tuple[Limit, ...]:
        return tuple(counter.limit for counter in self._counters.known.values())

    async def flush(self) -> None:
        """Return at once: nothing is ever queued here."""

    async def left(self) -> list[str]:
        """Nothing: what a process holds ends with it."""
        return []

    def settle_left(self, exchange_id: str, used: Used | None) -> None:
        """Do nothing, for the same reason."""

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    def warnings(self, now_ms: int) -> list[Crossing | Breach]:
        told: list[Crossing | Breach] = [*self._crossings.values(), *self._breaches.values()]
        self._crossings.clear()
        self._breaches.clear()
        return told

    def _when(self, held: MemoryReservation, now_ms: int) -> When:
        return When(held.ask.started_at_ms, now_ms, self._monotonic_ms())

    def _closed(self, reservation: Reservation) -> MemoryReservation:
        """Close the reservation. The second time it has no counters left, so nothing happens."""
        assert isinstance(reservation, MemoryReservation), ANOTHER_STORE
        if not reservation.open:
            self.resolved_twice += 1
        reservation.open = False
        return reservation

    def _tell(self, counter: LimitCount, when: When) -> None:
        for share_ppm in counter.tells(when):
            self._crossings[counter.limit.count_id, share_ppm] = Crossing(
                counter.state(when), share_ppm
            )

    def _breach(self, limit: Limit, bound: int, used: int) -> None:
        before = self._breaches.get(limit.count_id)
        self._breaches[limit.count_id] = Breach(
            limit, 1 if before is None else before.count + 1, bound, used
        )
