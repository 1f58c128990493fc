"""Sees what operators are told of, and hands it to the notifier: crossings, keys, prices, faults.

Crossings of limits come as the quota tells them. All else is looked at every few seconds, in
figures that other parts keep anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from proxy.core.calendar import Per, window
from proxy.core.limits.limit import Limit, Scope, shares_reached
from proxy.core.limits.rules import Rules
from proxy.core.notices import health
from proxy.core.notices.limits import limit_crossed
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.metrics.collector import OTHER
from proxy.notify.notifier import Notifier
from proxy.quota import Crossing, QuotaUnavailable
from proxy.quota.status import states_in_turns

LOG = logging.getLogger("tollkeeper.notify")

LOOK_S = 5.0
BEHIND_S = 60.0  # a ledger that is later than this has failed, or cannot keep up
AGAIN_AFTER_S = 3600.0  # a ledger that is behind all the time is told once an hour

_Name = TypeVar("_Name")


class NoticeWatch:
    """Lives on the event loop; `snapshot` gives the config in effect."""

    def __init__(
        self, services: Services, snapshot: Callable[[], Snapshot], notifier: Notifier
    ) -> None:
        self._services = services
        self._snapshot = snapshot
        self._notifier = notifier
        self._rules: Rules | None = None  # those whose limits were looked at
        self._unpriced: dict[tuple[str, str], int] = {}
        self._rejected: dict[str, int] = {}
        self._behind_told_ms: int | None = None
        self._crossings: list[Crossing] = []
        self._came = asyncio.Event()

    def crossed(self, crossings: Sequence[Crossing]) -> None:
        """Tell of budgets, soon."""
        self._crossings += crossings
        self._came.set()

    async def run(self) -> None:
        """Look every few seconds, and whenever something crossed, until cancelled."""
        while True:
            try:
                self.look()
                await self._look_at_limits()
            except Exception:  # a defect of ours, which requests have nothing to do with
                LOG.exception("notices failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._came.wait()

    def look(self) -> None:
        """Look once at all that needs no wait."""
        self._came.clear()
        self._tell_crossed()
        if self._notifier.wanted("key_expiring"):
            self._look_at_keys()
        if self._notifier.wanted("unpriced_model"):
            self._look_at_prices()
        if self._notifier.wanted("upstream_credential_rejected"):
            self._look_at_credentials()
        if self._notifier.wanted("ledger_behind"):
            self._look_at_ledger()

    def _tell_crossed(self) -> None:
        """Of several shares of a limit that were reached at once, the highest is told."""
        crossings, self._crossings = self._crossings, []
        highest: dict[str, Crossing] = {}
        for one in crossings:
            known = highest.get(one.state.limit.rule_id)
            if known is None or known.share_ppm < one.share_ppm:
                highest[one.state.limit.rule_id] = one
        for one in highest.values():
            self._cross(one)

    async def _look_at_limits(self) -> None:
        """Tell what limits have reached, at the start and whenever they change.

        The quota tells each crossing once in a process. One that a crash kept from being told, or
        that a new limit begins with, is found here.
        """
        rules = self._snapshot().rules
        if rules is self._rules or not self._notifier.wanted("limit_near", "limit_reached"):
            return
        self._rules = rules
        quota, now_ms = self._services.quota, self._services.now_ms()
        budgets = [limit for limit in quota.limits() if limit.windowed]
        try:
            async for states in states_in_turns(quota, budgets, now_ms):
                for state in states:
                    room = state.amount + state.granted
                    reached = shares_reached(state.limit, state.used, room)
                    if reached:
                        self._cross(Crossing(state, max(reached)))
        except QuotaUnavailable:
            self._rules = None  # at the next look

    def _cross(self, one: Crossing) -> None:
        """Rates pass: they come back by themselves, all day long."""
        limit = one.state.limit
        if limit.windowed:
            now_ms = self._services.now_ms()
            team = self._team_of(limit)
            self._notifier.tell(
                limit_crossed(one.state, one.share_ppm, team, self._snapshot().zone, now_ms)
            )

    def _team_of(self, limit: Limit) -> str | None:
        if limit.scope is Scope.TEAM:
            return limit.scope_id
        return self._team_of_key(limit.scope_id) if limit.scope is Scope.KEY else None

    def _team_of_key(self, key: str) -> str | None:
        known = self._snapshot().settings.keys.get(key)
        return None if known is None else known.team

    def _look_at_keys(self) -> None:
        zone, now_ms = self._snapshot().zone, self._services.now_ms()
        for key, expires_at_ms in self._services.keys.expiries_ms().items():
            notice = health.key_expiring(key, self._team_of_key(key), expires_at_ms, zone, now_ms)
            if notice is not None:
                self._notifier.tell(notice)

    def _look_at_prices(self) -> None:
        """A name that no config and no vendor knows may be a client's invention: it is not told."""
        now_ms = self._services.now_ms()
        ends_ms = window(Per.MONTH, now_ms, self._snapshot().zone).end_ms
        counts = self._services.metrics.unpriced()
        for upstream, model in _grown(counts, self._unpriced):
            if model != OTHER:
                self._notifier.tell(health.unpriced_model(upstream, model, ends_ms, now_ms))

    def _look_at_credentials(self) -> None:
        snapshot, now_ms = self._snapshot(), self._services.now_ms()
        ends_ms = window(Per.DAY, now_ms, snapshot.zone).end_ms
        for name in _grown(self._services.metrics.upstream_errors("credentials"), self._rejected):
            known = snapshot.upstreams.get(name)
            account = None if known is None else known.account
            self._notifier.tell(health.credential_rejected(name, account, ends_ms, now_ms))

    def _look_at_ledger(self) -> None:
        recorder, now_ms = self._services.recorder, self._services.now_ms()
        told_ms = self._behind_told_ms
        if recorder.lag_s >= BEHIND_S and (
            told_ms is None or now_ms - told_ms >= AGAIN_AFTER_S * 1000
        ):
            self._behind_told_ms = now_ms
            self._notifier.tell(health.ledger_behind(int(recorder.lag_s), recorder.backlog, now_ms))


def _grown(counts: Mapping[_Name, int], before: dict[_Name, int]) -> Iterable[_Name]:
    """The names whose count is larger than at the last look, which `before` keeps."""
    grown = [name for name, count in counts.items() if count > before.get(name, 0)]
    before.update(counts)
    return grown
