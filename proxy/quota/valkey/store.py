"""The quota that many processes share, in Valkey or Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Any, Final

import msgspec

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used, bound_of, expected
from proxy.core.limits.limit import Enforce, Limit
from proxy.core.limits.state import LimitState, Refused, lasts
from proxy.quota import (
    VALUES_MAX,
    Book,
    Breach,
    Crossing,
    Ended,
    Owed,
    Past,
    QuotaUnavailable,
    Reservation,
    SharedCounts,
    SilentHolds,
    Standing,
)
from proxy.quota.valkey.away import Away
from proxy.quota.valkey.building import Counted
from proxy.quota.valkey.calls import RESTORING, Calls, NotAsked
from proxy.quota.valkey.ends import DONE, REFUSED, Ends
from proxy.quota.valkey.epochs import Epochs
from proxy.quota.valkey.joining import Joining
from proxy.quota.valkey.lines import LimitLine, LimitWindow, pair
from proxy.quota.valkey.link import Link
from proxy.quota.valkey.past import ended_counts, past_counts
from proxy.quota.valkey.presence import Presence
from proxy.quota.valkey.requests import OUTPUT_MAX, output_of, told
from proxy.quota.valkey.reservation import Look, SharedReservation
from proxy.quota.valkey.telling import Telling

LOG = logging.getLogger("tollkeeper.quota")
LINES_MAX: Final = 100_000  # limits of which this process knows the names of their counts
LEAVE_S: Final = 2.0  # for the last ends to be answered; what is not is settled at the next start
ANOTHER_STORE = "a reservation is resolved by the store that made it"


class SharedQuota:
    """The store behind `proxy.quota.Quota`. Use it on the event loop only, not from a thread."""

    def __init__(
        self,
        zone: tzinfo,
        link: Link,
        calls: Calls,
        epochs: Epochs,
        joining: Joining,
        away: Away,
        *,
        values_max: int = VALUES_MAX,
    ) -> None:
        self.failures = 0  # requests without an answer
        self._link = link
        self._calls = calls
        self._epochs = epochs
        self._joining = joining
        self._away = away
        self._values_max = values_max
        self._calendar = Calendar(zone)
        self._credits: dict[str, dict[str, Credit]] = {}
        self._lines: dict[str, LimitLine] = {}
        self._telling = Telling(calls)
        self.presence = Presence(calls)
        self._running: dict[str, SharedReservation] = {}
        self._ends = Ends(calls, epochs, self._telling, self._running)
        self._now_ms = 0  # the latest time that was told
        epochs.running = self._running.values

    @property
    def silent(self) -> SilentHolds:
        return self.presence.silent

    async def reserve(
        self, limits: Sequence[Limit], ask: Demand, now_ms: int
    ) -> Reservation | Refused:
        self._now_ms = now_ms
        lines = [self._line(limit) for limit in limits]
        spans = [line.span_of(ask.started_at_ms, now_ms) for line in lines]
        likely = expected(ask)
        holds = [bound_of(line.limit, ask) if line.strict else likely[line.index] for line in lines]
        reserved = SharedReservation(
            ask=ask,
            look=Look(lines, spans, (), (), 0, now_ms),
            taken=holds,
            holds=holds,
            strict=any(line.strict for line in lines),
            exceeded=(),
            epoch=self._calls.epoch,
            output=output_of(ask),
        )
        if not limits:
            return reserved
        asking = [
            line.asking(span, hold, now_ms)
            for line, span, hold in zip(lines, spans, holds, strict=True)
        ]
        try:
            self._check_whole(lines)
            what = (reserved.attempt, asking, told(ask), reserved.output)
            answer = await self._calls.ask(b"reserve", what)
            if self._calls.epoch != reserved.epoch:
                # It was taken of counts that are lost, and nobody handed it in.
                raise QuotaUnavailable(RESTORING)
        except QuotaUnavailable as error:
            self.failures += 1
            if not isinstance(error, NotAsked):
                self._ends.undo(reserved)
            passed = await self._away.reserve(limits, reserved, self._epochs.away_s, error)
            if isinstance(passed, SharedReservation):
                self._running[ask.exchange_id] = passed
            return passed
        except asyncio.CancelledError:
            self._ends.undo(reserved)
            raise
        if answer[0] not in (DONE, REFUSED):
            raise QuotaUnavailable("the quota store was told that this request has ended")
        look = reserved.look = Look(lines, spans, answer[4], answer[3], answer[1], now_ms)
        if answer[0] == REFUSED:
            return self._refused(look, [(place, holds[place]) for place in answer[2]])
        if answer[2]:
            reserved.exceeded = tuple(lines[place].limit for place in answer[2])
            for place in answer[2]:
                self._telling.exceeded(look, place)
        for place, line in enumerate(lines):
            if line.raised:
                self._telling.look(look, place)
        self._running[ask.exchange_id] = reserved
        return reserved

    async def refusal(self, limits: Sequence[Limit], ask: Demand, now_ms: int) -> Refused | None:
        try:
            look = await self._look(limits, ask.started_at_ms, now_ms)
            self._check_whole(look.lines)
        except QuotaUnavailable as error:
            if not self._away.lets_through(limits, self._epochs.away_s):
                raise error
            return None  # `reserve` looks at what this process counts meanwhile
        likely = expected(ask)
        refusing: list[tuple[int, int]] = []
        for place, line in enumerate(look.lines):
            hold = bound_of(line.limit, ask) if line.strict else likely[line.index]
            if line.limit.refuses and not look.reading(place).lets_through(hold):
                refusing.append((place, hold))
        return self._refused(look, refusing) if refusing else None

    async def extend(
        self, reservation: Reservation, output_tokens: int, charge_nano: int | None, now_ms: int
    ) -> LimitState | None:
        held = self._of_this(reservation)
        if not held.open or held.epoch is None or not held.look.lines:
            return None
        ask, look = held.ask, held.look
        likely = expected(
            msgspec.structs.replace(
                ask,
                output_tokens=output_tokens,
                charge_nano=ask.charge_nano if charge_nano is None else charge_nano,
            )
        )
        grown = [*held.holds]
        wants: list[Any] = []
        for place, line in enumerate(look.lines):
            want = likely[line.index]
            if want <= grown[place]:
                wants.append(False)
                continue
            grown[place] = want
            may_refuse = line.limit.enforce in (Enforce.CUT, Enforce.STRICT)
            room = line.span_of(ask.started_at_ms, now_ms).room
            wants.append((may_refuse, *pair(room), *line.scaled(want)))
        if not any(wants):
            return None
        output = max(held.output, min(output_tokens, OUTPUT_MAX))
        answer = await self._calls.ask(b"extend", (held.attempt, wants, output))
        if answer[0] == REFUSED:
            place, raw = answer[2], answer[3]
            raws = [raw if other == place else None for other in range(len(look.lines))]
            found = Look(look.lines, look.spans, raws, look.together, answer[1], now_ms)
            return found.reading(place).state()
        if answer[0] == DONE:
            held.holds, held.output = grown, output
        return None

    def settle(self, reservation: Reservation, used: Used, now_ms: int) -> None:
        held = self._of_this(reservation)
        if not self._ends.close(held):
            return
        self._now_ms = now_ms
        self._away.settle(held, used, now_ms)
        self._ends.settle(held, used, now_ms)

    def void(self, reservation: Reservation, now_ms: int) -> None:
        held = self._of_this(reservation)
        if not self._ends.close(held):
            return
        self._away.void(held, now_ms)
        if held.look.lines:
            self._ends.undo(held, unsure=False)

    def release_slots(self, reservation: Reservation) -> None:
        held = self._of_this(reservation)
        if not held.open or held.slots_free:
            return
        self._away.release_slots(held)
        if any(line.kind == "S" for line in held.look.lines):
            held.slots_free = True
            self._calls.deliver((b"slots", (held.attempt,)), held.epoch)

    def grant(self, credit: Credit, now_ms: int) -> None:
        self._away.grant(credit, now_ms)
        self._credits.setdefault(credit.limit_id, {}).setdefault(credit.id, credit)
        for line in self._lines.values():
            if line.limit.id == credit.limit_id:
                line.renew()

    def adjust(self, limits: Sequence[Limit], started_at_ms: int, used: Used, now_ms: int) -> None:
        lines = [self._line(limit) for limit in limits if limit.windowed]
        self._ends.adjust(lines, started_at_ms, used, now_ms)

    async def restore(
        self, past: Iterable[Past], credits: Iterable[Credit], *, since_ms: int, now_ms: int
    ) -> bool:
        for credit in credits:
            self.grant(credit, now_ms)
        found = await past_counts(
            past, self._line, since_ms=since_ms, now_ms=now_ms, values_max=self._values_max
        )
        return await self._epochs.count(found)

    async def left(self) -> list[str]:
        answer = await self._calls.ask(b"holds", ())
        held = {attempt.decode().removesuffix("+") for attempt in answer[2]}
        return sorted(held - self._running.keys())

    def settle_left(self, exchange_id: str, used: Used | None) -> None:
        self._ends.settle_left(exchange_id, used)

    @property
    def shared(self) -> SharedCounts:
        return self

    async def lost(self) -> None:
        await self._epochs.lost.wait()

    async def rebuild(self, book: Callable[[], Awaitable[Book]]) -> bool:
        async def counted() -> Counted:
            given = await book()
            for credit in given.credits:
                self.grant(credit, given.now_ms)
            found = await past_counts(
                given.past,
                self._line,
                since_ms=given.since_ms,
                now_ms=given.now_ms,
                values_max=self._values_max,
            )
            return Counted(found, given.positions, given.live)

        return await self._epochs.build(counted)

    async def owed(self) -> Owed:
        return await self._joining.owed()

    async def hand_in(self, owed: Owed, ended: Sequence[Ended], now_ms: int) -> None:
        self._joining.hand_in(owed, await ended_counts(ended, self._line, now_ms))

    async def whole(self) -> None:
        await self._joining.whole()

    async def incomplete(self) -> Sequence[str]:
        return await self._joining.incomplete()

    def distrust(self, why: str) -> None:
        self._epochs.distrust(why)

    @property
    def standing(self) -> Standing:
        return Standing(
            self._epochs.entered,
            self._epochs.took_s,
            self._joining.partial_s,
            self._joining.waiting,
        )

    def forget(self, limits: Iterable[Limit], *, everywhere: bool = False) -> None:
        gone = {limit.rule_id: limit for limit in limits}
        if not gone:
            return
        names: list[str] = []
        sets: set[str] = set()
        for line in [line for line in self._lines.values() if line.limit.rule_id in gone]:
            del self._lines[line.limit.count_id]
            self._name(line.spans, names, sets)
        for limit in gone.values():
            line = self._make(limit)
            self._name([line.span_of(self._now_ms, self._now_ms)], names, sets)
        self._away.forget([*gone.values()])
        if everywhere:
            self._calls.deliver((b"forget", (names, [*sets])), self._calls.epoch)

    async def states(self, limits: Iterable[Limit], now_ms: int) -> list[LimitState]:
        look = await self._look([*limits], now_ms, now_ms)
        return [*look.states()]

    def limits(self) -> tuple[Limit, ...]:
        return tuple(line.limit for line in self._lines.values())

    async def flush(self) -> None:
        await self._calls.flush()

    def warnings(self, now_ms: int) -> list[Crossing | Breach]:
        return self._telling.take()

    async def aclose(self) -> None:
        if self._link.peer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self.flush()
        await self.presence.aclose()
        await self._epochs.aclose()
        await self._link.aclose()

    async def _look(self, limits: Sequence[Limit], started_at_ms: int, now_ms: int) -> Look:
        lines = [self._lines.get(limit.count_id) or self._make(limit) for limit in limits]
        for line, limit in zip(lines, limits, strict=True):
            if line.limit is not limit:
                line.bind(limit)
        spans = [line.span_of(started_at_ms, now_ms) for line in lines]
        if not lines:
            return Look((), (), (), (), 0, now_ms)
        names = [(span.name, span.apart or False) for span in spans]
        answer = await self._calls.ask(b"look", names)
        return Look(lines, spans, answer[3], answer[2], answer[1], now_ms)

    def _check_whole(self, lines: Iterable[LimitLine]) -> None:
        """A strict limit goes by whole counts alone. Raises QuotaUnavailable."""
        if not self._joining.is_whole and any(line.strict for line in lines):
            raise NotAsked(RESTORING)

    def _refused(self, look: Look, refusing: Sequence[tuple[int, int]]) -> Refused:
        """The refusal of the limit that refuses longest.

        A client that waited for another limit would be refused again.
        """
        found: Refused | None = None
        for place, hold in refusing:
            refused = look.reading(place).refusal(hold)
            waits = refused.never or refused.by_holds
            self._telling.look(look, place, used_up=not waits)
            if found is None or lasts(refused) > lasts(found):
                found = refused
        assert found is not None, "a refusal names a limit"
        return msgspec.structs.replace(found, states=look.states())

    def _of_this(self, reservation: Reservation) -> SharedReservation:
        assert isinstance(reservation, SharedReservation), ANOTHER_STORE
        return reservation

    def _line(self, limit: Limit) -> LimitLine:
        """The limit as the script counts it, with the amount and mode that it has now."""
        line = self._lines.get(limit.count_id)
        if line is None:
            if len(self._lines) >= LINES_MAX:
                for count_id in [*self._lines][: LINES_MAX // 10]:
                    del self._lines[count_id]
            line = self._lines[limit.count_id] = self._make(limit)
        elif line.limit is not limit:
            line.bind(limit)
        return line

    def _make(self, limit: Limit) -> LimitLine:
        return LimitLine(limit, self._calendar, self._credits, self._values_max)

    @staticmethod
    def _name(spans: Iterable[LimitWindow], names: list[str], sets: set[str]) -> None:
        for span in spans:
            names.append(span.name)
            if span.apart is not None:
                sets.add(span.apart[0])
                names.append(span.apart[2])
