"""A store, a clock moved by hand and short words for stories about limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of
from proxy.core.limits.state import LimitState, Refused
from proxy.quota import Breach, Crossing, Quota, Reservation
from tests.quota.stores import Clock, InMemory, Store


def limit(
    text: str, enforce: str = "finish", whose: str = "key:alice", **settings: object
) -> Limit:
    scope, _, scope_id = whose.partition(":")
    return limit_of(parse(text), Scope(scope), scope_id, enforce=Enforce(enforce), **settings)  # type: ignore[arg-type]


def ms(text: str) -> int:
    """Unix milliseconds of an ISO time; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    return round(
        (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000
    )


class World:
    """One store in one zone."""

    def __init__(self, quota: Quota, clock: Clock) -> None:
        self.quota = quota
        self.clock = clock
        self.count = 0
        self.names = "x"

    async def ask(
        self,
        limits: Sequence[Limit],
        output: int = 0,
        *,
        input: int = 0,
        charge: int | None = None,
        most: int | None = None,
        began_ms: int | None = None,
    ) -> Reservation | Refused:
        """A request that expects these tokens and this charge; `most` bounds the output, and the
        charge with it."""
        self.count += 1
        started_ms = self.clock.now_ms if began_ms is None else began_ms
        return await self.quota.reserve(
            limits, self._asking(output, input, charge, most, started_ms), self.clock.now_ms
        )

    async def look(
        self,
        limits: Sequence[Limit],
        output: int = 0,
        *,
        input: int = 0,
        charge: int | None = None,
        most: int | None = None,
    ) -> Refused | None:
        """What `ask` would be refused with."""
        now_ms = self.clock.now_ms
        return await self.quota.refusal(
            limits, self._asking(output, input, charge, most, now_ms), now_ms
        )

    def _asking(
        self, output: int, input: int, charge: int | None, most: int | None, started_ms: int
    ) -> Demand:
        return Demand(
            exchange_id=f"{self.names}{self.count}",
            started_at_ms=started_ms,
            input_tokens=input,
            output_tokens=output,
            charge_nano=charge,
            input_bound=input,
            output_bound=most,
            charge_bound_nano=most,
        )

    async def admitted(
        self, limits: Sequence[Limit], output: int = 0, **more: int | None
    ) -> Reservation:
        answer = await self.ask(limits, output, **more)
        assert not isinstance(answer, Refused), answer
        return answer

    async def refused(
        self, limits: Sequence[Limit], output: int = 0, **more: int | None
    ) -> Refused:
        answer = await self.ask(limits, output, **more)
        assert isinstance(answer, Refused)
        return answer

    def end(
        self,
        reservation: Reservation,
        output: int = 0,
        *,
        input: int = 0,
        charge: int | None = None,
    ) -> None:
        self.quota.settle(
            reservation,
            Used(input_tokens=input, output_tokens=output, charge_nano=charge),
            self.clock.now_ms,
        )

    def void(self, reservation: Reservation) -> None:
        self.quota.void(reservation, self.clock.now_ms)

    async def warnings(self) -> list[Crossing | Breach]:
        """What has come up to warn of, all ends so far included."""
        await self.quota.flush()
        return self.quota.warnings(self.clock.now_ms)

    async def state(self, limit: Limit) -> LimitState:
        (found,) = await self.quota.states([limit], self.clock.now_ms)
        return found

    async def figures(self, limit: Limit) -> tuple[int, int, int]:
        """(used, held, remaining)."""
        state = await self.state(limit)
        return state.used, state.held, state.remaining


async def world(
    store: Store | None = None, at: str = "2026-11-22T12:00", zone: str = "UTC"
) -> World:
    """A new store, of this process where none is given."""
    clock = Clock(ms(at))
    return World(await (store or InMemory()).open(ZoneInfo(zone), clock), clock)
