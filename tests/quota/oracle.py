"""What a quota store should say, worked out from scratch at each question from a list of what
happened. Slow, in fractions, and sharing no step with the store.

Windows are told apart by what a wall calendar shows, buckets are refilled drop by drop from their
first event on, and nothing is kept but facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit

PERIOD_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000}


@dataclass
class Fact:
    """One request's part in one limit: what it took and when, and what it used once that is
    known."""

    limit: Limit
    started_at_ms: int
    pieces: list[tuple[int, int]]  # (steady clock, amount): the hold, then each extension
    used: int | None = None  # None: still running
    ended_ms: int = 0
    void: bool = False
    slot: bool = True


@dataclass
class Oracle:
    """All facts of a history; one zone."""

    zone: ZoneInfo
    facts: list[Fact] = field(default_factory=list)
    adjustments: list[tuple[Limit, int, int]] = field(
        default_factory=list
    )  # limit, start of the record, amount
    grants: dict[str, Credit] = field(default_factory=dict)

    def label(self, limit: Limit, at_ms: int) -> object:
        """The window, as a wall calendar names it."""
        shown = datetime.fromtimestamp(at_ms / 1000, self.zone)
        return {
            "day": shown.date(),
            "week": shown.isocalendar()[:2],
            "month": (shown.year, shown.month),
            "total": "ever",
        }[limit.per]

    def room(self, limit: Limit, at_ms: int, now_ms: int) -> int:
        """Amount and credit for the window of `at_ms`, as of now."""
        credit = 0
        for grant in self.grants.values():
            if grant.limit_id == limit.id:
                for_ever = grant.valid_until_ms is None
                here = self.label(limit, grant.granted_at_ms) == self.label(limit, at_ms)
                credit += (
                    grant.amount if (here if for_ever else now_ms < grant.valid_until_ms) else 0
                )
        return limit.amount + credit

    def budget(self, limit: Limit, at_ms: int) -> tuple[int, int]:
        """(used, held) of the window of `at_ms`."""
        window = self.label(limit, at_ms)
        mine = [
            fact
            for fact in self.facts
            if fact.limit.id == limit.id
            and not fact.void
            and self.label(limit, fact.started_at_ms) == window
        ]
        used = sum(fact.used for fact in mine if fact.used is not None)
        held = sum(sum(amount for _, amount in fact.pieces) for fact in mine if fact.used is None)
        return used + sum(
            amount
            for other, start_ms, amount in self.adjustments
            if other.id == limit.id and self.label(limit, start_ms) == window
        ), held

    def level(self, limit: Limit, steady_ms: int, *, amount: int) -> Fraction:
        """Units in the bucket: each request as if it had taken just what it used, what goes beyond
        when that turned out."""
        events: list[tuple[int, int]] = []
        for fact in self.facts:
            if fact.limit.id != limit.id or fact.void:
                continue
            *before, (last_ms, last) = fact.pieces
            taken = sum(piece for _, piece in fact.pieces)
            if fact.used is not None and fact.used < taken:
                last -= min(last, taken - fact.used)
            events += [*before, (last_ms, last)]
            if fact.used is not None and fact.used > taken:
                events.append((fact.ended_ms, fact.used - taken))
        level, at_ms = Fraction(0), 0
        for event_ms, units in sorted(events):
            level = (
                max(
                    Fraction(0), level - Fraction((event_ms - at_ms) * amount, PERIOD_MS[limit.per])
                )
                + units
            )
            at_ms = event_ms
        return max(
            Fraction(0), level - Fraction((steady_ms - at_ms) * amount, PERIOD_MS[limit.per])
        )

    def slots(self, limit: Limit) -> int:
        return sum(
            1
            for fact in self.facts
            if fact.limit.id == limit.id and fact.used is None and not fact.void and fact.slot
        )

    def left(self, limit: Limit, at_ms: int, now_ms: int, steady_ms: int) -> Fraction:
        """What a request that starts at `at_ms` finds left."""
        if limit.unit == "concurrent":
            return Fraction(limit.amount - self.slots(limit))
        if limit.per in PERIOD_MS:
            return (limit.amount if limit.burst is None else limit.burst) - self.level(
                limit, steady_ms, amount=limit.amount
            )
        used, held = self.budget(limit, at_ms)
        return Fraction(self.room(limit, at_ms, now_ms) - used - held)

    def lets_through(self, limit: Limit, ask: Demand, now_ms: int, steady_ms: int) -> bool:
        left = self.left(limit, ask.started_at_ms, now_ms, steady_ms)
        if limit.enforce == "strict" or limit.unit in ("requests", "concurrent"):
            return takes(limit, ask) <= left
        return left > 0


def takes(limit: Limit, ask: Demand) -> int:
    """What a request takes of a limit when it is let through."""
    inputs, outputs, charge = ask.input_tokens, ask.output_tokens, ask.charge_nano or 0
    if limit.enforce == "strict":
        inputs, outputs, charge = (
            ask.input_bound or 0,
            ask.output_bound or 0,
            ask.charge_bound_nano or 0,
        )
    return {
        "requests": 1,
        "concurrent": 1,
        "tokens": inputs + outputs,
        "input_tokens": inputs,
        "output_tokens": outputs,
        "money": charge,
    }[limit.unit]


def uses(limit: Limit, used: Used) -> int:
    inputs, outputs = used.input_tokens or 0, used.output_tokens or 0
    return {
        "requests": used.requests,
        "concurrent": 0,
        "tokens": inputs + outputs,
        "input_tokens": inputs,
        "output_tokens": outputs,
        "money": used.charge_nano or 0,
    }[limit.unit]
