"""A quota whose counts were not read from the book yet: the ledger was away at the start.

What was used before is not known then. Each mode of a limit says whether requests pass all the
same; a request goes by its strictest limit. Rates and slots hold within this process meanwhile, in
full, and budgets are counted once the book can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import Refused
from proxy.ledger import LedgerUnavailable
from proxy.quota import Past, Quota, QuotaUnavailable, Reservation, SharedOptions

_WHY: Final = "the ledger cannot be read, so what was used of the limits is not known"


class UncountedQuota:
    """Stands before a store until `counted`. What is not here is the store's own.

    `is_shared`: the counts outlived the process that was here before, so all requests count there
    at once; only what a start adds to them is missing.
    """

    def __init__(self, store: Quota, options: SharedOptions, *, is_shared: bool) -> None:
        self.store = store
        self.is_shared = is_shared
        self._options = options
        self._since_s = monotonic()
        self._open = False
        self._early: dict[str, tuple[Sequence[Limit], int]] = {}  # by the id of their exchange
        self._refused = 0  # requests, for want of counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @property
    def failures(self) -> int:
        """See `Quota.failures`."""
        return self.store.failures + self._refused

    @property
    def is_counted(self) -> bool:
        """Whether `counted` was called."""
        return self._open

    def counted(self) -> None:
        """The store has the counts of the book, and of all that has ended by now."""
        self._open = True

    async def reserve(
        self, limits: Sequence[Limit], ask: Demand, now_ms: int
    ) -> Reservation | Refused:
        """See `Quota.reserve`."""
        if self._open:
            return await self.store.reserve(limits, ask, now_ms)
        try:
            self._check(limits)
        except QuotaUnavailable:
            self._refused += 1
            raise
        if self.is_shared:
            return await self.store.reserve(limits, ask, now_ms)
        flowing = LimitSet(limit for limit in limits if not limit.windowed)
        outcome = await self.store.reserve(flowing, ask, now_ms)
        if not isinstance(outcome, Refused):
            self._early[outcome.exchange_id] = (limits, ask.started_at_ms)
        return outcome

    async def refusal(self, limits: Sequence[Limit], ask: Demand, now_ms: int) -> Refused | None:
        """See `Quota.refusal`."""
        if not self._open:
            self._check(limits)
        return await self.store.refusal(limits, ask, now_ms)

    def settle(self, reservation: Reservation, used: Used, now_ms: int) -> None:
        """See `Quota.settle`."""
        early = self._early.pop(reservation.exchange_id, None)
        self.store.settle(reservation, used, now_ms)
        if early is not None:
            self.adjust(*early, used, now_ms)

    def void(self, reservation: Reservation, now_ms: int) -> None:
        """See `Quota.void`."""
        self._early.pop(reservation.exchange_id, None)
        self.store.void(reservation, now_ms)

    def adjust(self, limits: Sequence[Limit], started_at_ms: int, used: Used, now_ms: int) -> None:
        """See `Quota.adjust`. Before the counts are there, all that ends is restored with them."""
        if self._open or self.is_shared:
            self.store.adjust(limits, started_at_ms, used, now_ms)

    async def restore(
        self, past: Iterable[Past], credits: Iterable[Credit], *, since_ms: int, now_ms: int
    ) -> bool:
        """See `Quota.restore`. Raises LedgerUnavailable until all counts were restored."""
        if not self._open:
            raise LedgerUnavailable("the counts of limits were not read since the start")
        return await self.store.restore(past, credits, since_ms=since_ms, now_ms=now_ms)

    def _check(self, limits: Sequence[Limit]) -> None:
        away_s = monotonic() - self._since_s
        if not all(limit.enforce in self._options.counted for limit in limits) or (
            not self.is_shared and limits and away_s > self._options.outage_max_s
        ):
            raise QuotaUnavailable(_WHY)
