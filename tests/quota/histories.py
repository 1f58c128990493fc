"""Random histories of a quota store beside the oracle: after each step both say the same of every
limit, and both decided alike."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.gcra import lookback_ms
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import LimitState, Refused
from proxy.quota import Past, Quota, Reservation
from tests.quota.oracle import PERIOD_MS, Fact, Oracle, takes, uses
from tests.quota.stores import Clock, Store

ZONES = ("UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York")
# Where the calendar is interesting: clock changes both ways, a leap day, ends of weeks, months and
# the year.
MOMENTS = (
    "2026-03-08T06:30",
    "2026-11-01T05:30",
    "2026-04-04T14:30",
    "2026-10-03T15:00",
    "2028-02-28T23:00",
    "2028-02-29T18:00",
    "2026-12-31T23:00",
    "2026-11-22T12:00",
)
RULES = (
    "3 requests/second",
    "7 requests/minute",
    "2 requests/hour",
    "40 tokens/second",
    "900 tokens/minute",
    "300 output_tokens/minute",
    "5 requests/day",
    "12 requests/total",
    "2000 tokens/day",
    "900 input_tokens/week",
    "5000 output_tokens/month",
    "0.000004 USD/day",
    "0.00002 USD/month",
    "0.00003 USD/total",
    "3 concurrent",
    "1 concurrent",
    "0 requests/day",
    "0 tokens/minute",
)


@dataclass
class Running:
    reservation: Reservation
    ask: Demand
    facts: list[Fact]


@dataclass
class History:
    dice: random.Random
    clock: Clock
    quota: Quota
    oracle: Oracle
    limits: list[Limit]
    store: Store
    running: list[Running] = field(default_factory=list)
    over: list[Reservation] = field(default_factory=list)
    records: list[tuple[Demand, Used, list[str]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    kinds: list[list[int]] = field(default_factory=list)  # of requests: places of their limits
    groups: dict[tuple[Limit, ...], LimitSet] = field(default_factory=dict)
    count: int = 0
    born_ms: int = 0  # of this process: no request began before it

    async def step(self) -> None:
        move = self.dice.choices(
            (
                "wait",
                "reserve",
                "settle",
                "extend",
                "void",
                "leave",
                "again",
                "grant",
                "adjust",
                "reload",
                "restart",
            ),
            (14, 30, 20, 8, 3, 3, 2, 2, 2, 2, 1),
        )[0]
        self.told.append(move)
        await getattr(self, move)()
        await self.compare()

    async def wait(self) -> None:
        self.clock.pass_ms(
            self.dice.choice((1, 90, 400, 1000, 7000, 61_000, 3_600_000, 20_000_000, 90_000_000))
        )

    async def reserve(self) -> None:
        dice = self.dice
        mine = self.of_a_request()
        inputs, outputs = dice.choice((0, 1, 30, 200)), dice.choice((0, 5, 100, 1500))
        self.count += 1
        ask = Demand(
            exchange_id=str(self.count),
            started_at_ms=max(
                self.born_ms, self.clock.now_ms - dice.choice((0, 0, 0, 5, 4000))
            ),  # a body may take its time
            input_tokens=inputs,
            output_tokens=outputs,
            charge_nano=inputs + 4 * outputs,
            input_bound=2 * inputs + 3,
            output_bound=3 * outputs,
            charge_bound_nano=20 * (inputs + outputs),
        )
        refusing = {
            one.id
            for one in mine
            if one.enforce != "warn"
            and not self.oracle.lets_through(one, ask, self.clock.now_ms, self.clock.steady_ms)
        }
        beyond = [
            one.id
            for one in mine
            if one.enforce == "warn"
            and not self.oracle.lets_through(one, ask, self.clock.now_ms, self.clock.steady_ms)
        ]
        answer = await self.quota.reserve(mine, ask, self.clock.now_ms)
        if isinstance(answer, Refused):
            assert answer.limit.id in refusing
            assert [state.limit for state in answer.states] == list(mine)
            await self.comes_back(answer, mine, ask)
            return
        assert not refusing
        assert [limit.id for limit in answer.exceeded] == beyond
        assert answer.exchange_id == ask.exchange_id
        facts = [
            Fact(one, ask.started_at_ms, [(self.clock.steady_ms, takes(one, ask))]) for one in mine
        ]
        self.oracle.facts += facts
        self.running.append(Running(answer, ask, facts))

    def of_a_request(self) -> LimitSet:
        """Some limits, nearly always those of an earlier request: as one group, like `Rules`."""
        if not self.kinds or self.dice.random() < 0.2:
            places = range(len(self.limits))
            self.kinds.append(self.dice.sample(places, self.dice.randint(1, len(self.limits))))
        mine = tuple(self.limits[place] for place in self.dice.choice(self.kinds))
        return self.groups.setdefault(mine, LimitSet(mine))

    async def comes_back(self, refused: Refused, mine: Sequence[Limit], ask: Demand) -> None:
        """What a refusal says of time is true of its limit: then it lets the request through, a
        millisecond before it does not."""
        if refused.limit.per not in PERIOD_MS or refused.retry_after_ms is None:
            return
        for wait_ms, through in (
            (refused.retry_after_ms - 1, False),
            (refused.retry_after_ms, True),
        ):
            assert (
                self.oracle.lets_through(
                    refused.limit, ask, self.clock.now_ms, self.clock.steady_ms + wait_ms
                )
                is through
            )

    def one(self) -> Running | None:
        return self.dice.choice(self.running) if self.running else None

    async def settle(self) -> None:
        run = self.one()
        if run is None:
            return
        inputs, outputs = self.dice.choice((0, 1, 25, 700)), self.dice.choice((0, 2, 90, 1200))
        used = Used(
            input_tokens=inputs,
            output_tokens=self.dice.choice((outputs, None)),
            charge_nano=self.dice.choice((inputs + 3 * outputs, None)),
        )
        self.quota.settle(run.reservation, used, self.clock.now_ms)
        for fact in run.facts:
            fact.used, fact.ended_ms = uses(fact.limit, used), self.clock.steady_ms
        self.records.append((run.ask, used, [fact.limit.id for fact in run.facts]))
        self.end(run)

    async def void(self) -> None:
        run = self.one()
        if run is not None and all(
            len(fact.pieces) == 1 for fact in run.facts
        ):  # of what was sent nothing is void, and only that is extended
            self.quota.void(run.reservation, self.clock.now_ms)
            for fact in run.facts:
                fact.void = True
            self.end(run)

    def end(self, run: Running) -> None:
        self.running.remove(run)
        self.over.append(run.reservation)

    async def again(self) -> None:
        """Whatever is said to a reservation that is over changes nothing."""
        if self.over:
            gone = self.dice.choice(self.over)
            self.quota.settle(
                gone, Used(input_tokens=9, output_tokens=9, charge_nano=9), self.clock.now_ms
            )
            self.quota.void(gone, self.clock.now_ms)
            self.quota.release_slots(gone)
            assert await self.quota.extend(gone, 10**6, 10**6, self.clock.now_ms) is None

    async def leave(self) -> None:
        run = self.one()
        if run is not None:
            for _ in range(self.dice.choice((1, 2))):
                self.quota.release_slots(run.reservation)
            for fact in run.facts:
                fact.slot = False

    async def extend(self) -> None:
        run = self.one()
        if run is None:
            return
        outputs, charge = (
            self.dice.choice((0, 110, 600, 4000)),
            self.dice.choice((None, 500, 16_000)),
        )
        needs = msgspec.structs.replace(
            run.ask,
            output_tokens=outputs,
            charge_nano=run.ask.charge_nano if charge is None else charge,
        )
        growing = [
            (fact, more)
            for fact in run.facts
            if (
                more := takes(msgspec.structs.replace(fact.limit, enforce=Enforce.FINISH), needs)
                - sum(piece for _, piece in fact.pieces)
            )
            > 0
            and fact.limit.unit != "concurrent"
        ]
        stops = {
            fact.limit.id
            for fact, more in growing
            if self.now(fact.limit).enforce in ("cut", "strict")
            and more
            > self.oracle.left(
                self.now(fact.limit), run.ask.started_at_ms, self.clock.now_ms, self.clock.steady_ms
            )
        }
        answer = await self.quota.extend(run.reservation, outputs, charge, self.clock.now_ms)
        if answer is not None:
            assert answer.limit.id in stops
            return
        assert not stops
        for fact, more in growing:
            fact.pieces.append((self.clock.steady_ms, more))

    def now(self, limit: Limit) -> Limit:
        """The limit as the config states it now."""
        return next(one for one in self.limits if one.id == limit.id)

    async def grant(self) -> None:
        limit = self.dice.choice(self.limits)
        if limit.windowed:
            until_ms = self.dice.choice(
                (None, self.clock.now_ms + 5000, self.clock.now_ms + 200_000_000)
            )
            grant = Credit(
                str(len(self.oracle.grants)),
                limit.id,
                self.dice.choice((1, 500, -1, 10_000)),
                self.clock.now_ms,
                until_ms,
            )
            self.oracle.grants[grant.id] = grant
            for _ in range(self.dice.choice((1, 2))):
                self.quota.grant(grant, self.clock.now_ms)

    async def adjust(self) -> None:
        """The book corrects a record of just now: its window is open, or kept."""
        mine = [limit for limit in self.limits if limit.windowed]
        change = Used(
            requests=0,
            input_tokens=self.dice.choice((-20, 5)),
            output_tokens=self.dice.choice((None, 60)),
            charge_nano=self.dice.choice((-100, 300)),
        )
        self.quota.adjust(self.limits, self.clock.now_ms, change, self.clock.now_ms)
        self.oracle.adjustments += [
            (limit, self.clock.now_ms, uses(limit, change)) for limit in mine
        ]

    async def reload(self) -> None:
        """Another amount of a limit; of a rate only while its bucket is empty, since the oracle
        knows no past amounts."""
        place = self.dice.randrange(len(self.limits))
        limit = self.limits[place]
        if limit.per in PERIOD_MS and (
            self.oracle.level(limit, self.clock.steady_ms, amount=limit.amount) > 0
            or any(fact.limit.id == limit.id for run in self.running for fact in run.facts)
        ):
            return
        if limit.per in PERIOD_MS:
            self.oracle.facts = [fact for fact in self.oracle.facts if fact.limit.id != limit.id]
            self.records = [
                (ask, used, [id for id in ids if id != limit.id]) for ask, used, ids in self.records
            ]
        self.limits[place] = msgspec.structs.replace(
            limit, amount=self.dice.choice((1, limit.amount, 2 * limit.amount + 1))
        )

    async def restart(self) -> None:
        """The process dies: what ran is recorded by its recovery; a new store is built from
        records, adjustments and grants alone."""
        while self.running:
            await self.settle()
        lookback = max(
            (
                lookback_ms(
                    limit.amount,
                    limit.amount if limit.burst is None else limit.burst,
                    PERIOD_MS[limit.per],
                )
                for limit in self.limits
                if limit.per in PERIOD_MS
            ),
            default=0,
        )
        first_ms = min((ask.started_at_ms for ask, *_ in self.records), default=self.clock.now_ms)
        by_id = {limit.id: limit for limit in self.limits}
        past = [
            Past(tuple(by_id[id] for id in ids), ask.started_at_ms, used)
            for ask, used, ids in self.records
        ]
        for limit, start_ms, amount in self.oracle.adjustments:
            past.append(
                Past(
                    (by_id[limit.id],),
                    start_ms,
                    Used(requests=amount, input_tokens=amount, output_tokens=0, charge_nano=amount)
                    if limit.unit != "output_tokens"
                    else Used(requests=0, output_tokens=amount),
                )
            )
        self.dice.shuffle(past)
        self.quota = await self.store.open(self.oracle.zone, self.clock)
        await self.quota.restore(
            past,
            self.oracle.grants.values(),
            since_ms=first_ms - lookback,
            now_ms=self.clock.now_ms,
        )
        self.over.clear()
        self.born_ms = self.clock.now_ms
        apart_ms = self.clock.steady_ms - self.clock.now_ms
        for fact in self.oracle.facts:
            if fact.used is not None:
                fact.pieces = [(fact.started_at_ms + apart_ms, fact.used)]
        # What is recorded counts from its start on; a clock set apart does not occur in these
        # histories.

    async def compare(self) -> None:
        states = await self.quota.states(self.limits, self.clock.now_ms)
        for state, limit in zip(states, self.limits, strict=True):
            assert state == self.expected(limit), (self.told[-6:], limit.id)

    def expected(self, limit: Limit) -> LimitState:
        now_ms, steady_ms = self.clock.now_ms, self.clock.steady_ms
        left = self.oracle.left(limit, now_ms, now_ms, steady_ms)
        if limit.unit == "concurrent":
            return LimitState(
                limit=limit,
                amount=limit.amount,
                used=self.oracle.slots(limit),
                remaining=max(0, int(left)),
            )
        if limit.per in PERIOD_MS:
            level = self.oracle.level(limit, steady_ms, amount=limit.amount)
            empty_ms = (
                0
                if level == 0
                else math.ceil(level * PERIOD_MS[limit.per] / limit.amount)
                if limit.amount
                else None
            )
            return LimitState(
                limit=limit,
                amount=limit.amount,
                used=math.ceil(level),
                remaining=max(0, math.floor(left)),
                resets_at_ms=None if empty_ms is None else now_ms + empty_ms,
            )
        used, held = self.oracle.budget(limit, now_ms)
        credit = self.oracle.room(limit, now_ms, now_ms) - limit.amount
        return LimitState(
            limit=limit,
            amount=limit.amount,
            granted=credit,
            used=used,
            held=held,
            remaining=max(0, int(left)),
            resets_at_ms=self.turns_ms(limit, now_ms),
        )

    def turns_ms(self, limit: Limit, now_ms: int) -> int | None:
        """When the calendar's label changes, found by halving."""
        if limit.per == "total":
            return None
        today, low, high = (
            self.oracle.label(limit, now_ms),
            now_ms // 1000,
            now_ms // 1000 + 32 * 86_400,
        )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high)
                if self.oracle.label(limit, middle * 1000) == today
                else (low, middle)
            )
        return high * 1000


async def history(store: Store, seed: int, steps: int) -> History:
    """One history from its seed; raises where store and oracle differ."""
    dice = random.Random(seed)
    clock = Clock(
        int(datetime.fromisoformat(dice.choice(MOMENTS)).replace(tzinfo=UTC).timestamp()) * 1000
    )
    zone = ZoneInfo(dice.choice(ZONES))
    limits = []
    for number, text in enumerate(dice.sample(RULES, dice.randint(1, 5))):
        rule = parse(text)
        burst = dice.choice((None, None, 1, 50)) if rule.per in PERIOD_MS and rule.amount else None
        limits.append(
            limit_of(rule, Scope.KEY, f"k{number}", enforce=dice.choice(list(Enforce)), burst=burst)
        )
    told = History(
        dice,
        clock,
        await store.open(zone, clock),
        Oracle(zone),
        limits,
        store,
    )
    for _ in range(steps):
        await told.step()
    return told
