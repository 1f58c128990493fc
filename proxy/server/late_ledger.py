"""What a start has missed that found the shared ledger away, once the ledger is back.

That is what was used of limits, who made what at vendors, which models are served, and the salts of
end users.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerUnavailable
from proxy.quota.rebuild import count_ended
from proxy.quota.uncounted import UncountedQuota
from proxy.server.past_use import count_limits, know_kept_answers, owners, served_models
from proxy.server.shared_counts import start_counting
from proxy.server.startup import identity
from proxy.server.tenancy import Tenancy

LOG = logging.getLogger("tollkeeper.server")


class LateLedger:
    """Makes up for what a start has missed while the ledger was away."""

    def __init__(
        self, services: Services, snapshot: Callable[[], Snapshot], tenancy: Tenancy
    ) -> None:
        self._services = services
        self._snapshot = snapshot
        self._tenancy = tenancy

    async def catch_up(self) -> None:
        """Take the name among the others, then read what was missed, in order.

        Raises LedgerError or LedgerUnavailable while that cannot be; then it is called again.
        """
        services = self._services
        assert services.sharing is not None, "a ledger of one process is opened at the start"
        writer = services.journal.writer
        home = identity(self._snapshot().settings.data_dir, writer)
        await services.sharing.arrive(writer, home)
        if not services.recorder.recovered.is_set():
            raise LedgerUnavailable("what the last process left open has no records yet")
        services.end_users.know(await services.ledger.salts())
        await self._tenancy.alone(self._count)
        await self._learn()
        LOG.warning("the ledger is back: what was used of limits is counted, and keys are heard of")

    async def _count(self) -> None:
        services, snapshot, quota = self._services, self._snapshot(), self._services.quota
        assert isinstance(quota, UncountedQuota), "the start has put it before the store"
        if quota.is_counted:
            return
        rules, currency, store = snapshot.rules, snapshot.settings.currency, quota.store
        if store.shared is not None:  # requests were counted there as they ended
            await start_counting(store.shared, services, snapshot, store)
            quota.counted()
            return
        async with services.recorder.paused() as ended:
            counted = len(ended)
            await count_limits(services, snapshot, ended[:counted], store)
            nothing = rules.of_some((), ())
            count_ended(store, rules, nothing, ended[counted:], currency, services.now_ms())
            quota.counted()

    async def _learn(self) -> None:
        services, snapshot = self._services, self._snapshot()
        served = await asyncio.to_thread(served_models, snapshot, services.reader)
        known = await asyncio.to_thread(owners, services.reader)
        await know_kept_answers(services)
        served.learn_all(services.served.seen)
        known.learn_all(services.owners)
        services.know(served, known)
