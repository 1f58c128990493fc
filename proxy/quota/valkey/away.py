"""Requests while the store is away: which of them pass, and what this process counts meanwhile.

Each mode of a limit says whether requests pass; a request goes by its strictest limit. Rates and
slots hold within this process then, in full. Budgets are counted when the store is back.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable, SharedOptions
from proxy.quota.memory import MemoryQuota
from proxy.quota.valkey.reservation import SharedReservation


class Away:
    """What holds while the store cannot be asked."""

    def __init__(self, own: MemoryQuota, options: SharedOptions) -> None:
        self._own = own
        self._options = options
        self.passed = 0  # requests that passed so far

    def lets_through(self, limits: Sequence[Limit], away_s: float) -> bool:
        """Whether requests under these limits pass; the store is away for so long now."""
        return away_s <= self._options.outage_max_s and all(
            limit.enforce in self._options.counted for limit in limits
        )

    async def reserve(
        self,
        limits: Sequence[Limit],
        reserved: SharedReservation,
        away_s: float,
        error: QuotaUnavailable,
    ) -> SharedReservation | Refused:
        """A reservation that the store learns of later. Raises `error` where none is given."""
        if not self.lets_through(limits, away_s):
            raise error
        mine = LimitSet(limit for limit in limits if not limit.windowed)
        outcome = await self._own.reserve(mine, reserved.ask, reserved.look.now_ms)
        if isinstance(outcome, Refused):
            return outcome
        self.passed += 1
        return msgspec.structs.replace(reserved, exceeded=outcome.exceeded, epoch=None, own=outcome)

    def settle(self, held: SharedReservation, used: Used, now_ms: int) -> None:
        if held.own is not None:
            self._own.settle(held.own, used, now_ms)

    def void(self, held: SharedReservation, now_ms: int) -> None:
        if held.own is not None:
            self._own.void(held.own, now_ms)

    def release_slots(self, held: SharedReservation) -> None:
        if held.own is not None:
            self._own.release_slots(held.own)

    def grant(self, credit: Credit, now_ms: int) -> None:
        self._own.grant(credit, now_ms)

    def forget(self, limits: Sequence[Limit]) -> None:
        self._own.forget(limits)
