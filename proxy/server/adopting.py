"""Books what other processes left, and ends what they hold in a shared quota.

At the start it takes each journal of the data directory that no process holds. With `journal.adopt`
it goes on looking, for processes that the database has not heard of for some seconds: what comes
back at once books its own. Where a lock may not hold over hosts, the database is asked at the
start, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from proxy.accounting.adoption import Adoption, adopt_others
from proxy.accounting.belonging import check_belongs
from proxy.config.settings import Settings
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import JournalOptions, doubt
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.sharing import Instance, InstanceState
from proxy.quota import QuotaError, QuotaUnavailable
from proxy.quota.left import connect_left
from proxy.server.left_holds import end_as_booked

LOG = logging.getLogger("tollkeeper.server")
# how long the ledger may take to book the journal of one dead process; else at the next look
ADOPT_S: Final = 60.0
LOOK_S: Final = 1.0
ASK_S: Final = 10.0  # for an answer of the quota store


class Adopting:
    """Looks for journals of dead processes.

    `kept` are the journals of processes that start or come back by themselves.
    """

    def __init__(
        self,
        services: Services,
        snapshot: Callable[[], Snapshot],
        options: JournalOptions,
        kept: Collection[str] = (),
    ) -> None:
        self._snapshot = snapshot
        self._services = services
        self._settings: Settings = snapshot().settings
        self._kept = kept
        self._instances: Mapping[str, Instance] = {}
        self._again: set[str] = set()  # that are to be looked at once more
        self._told: str | None = None
        self._started = False  # whether all was looked at once
        self._trusted = False  # whether a lock that is free says that its process is dead
        self._options = options

    async def at_start(self) -> None:
        """Take all that no process holds: also of those that left, or that no database knows."""
        self._trusted = await asyncio.to_thread(doubt, self._settings.data_dir) is None
        await self._try()

    async def run(self, snapshot: Callable[[], Snapshot]) -> None:
        """Look until cancelled, with the config in effect.

        Without `journal.adopt` it looks for what was not ready at the start.
        """
        self._snapshot = snapshot
        while self._settings.journal.adopt or self._again or not self._started:
            await asyncio.sleep(LOOK_S)
            await self._try()

    async def _try(self) -> None:
        """Look; at first at all, and then at those that are due."""
        try:
            await self._look(self._is_due if self._started else lambda name: True)
            self._started, self._told = True, None
        except (LedgerError, LedgerUnavailable) as error:
            if self._told != str(error):
                LOG.warning("what other processes left cannot be booked yet: %s", error)
            self._told = str(error)

    async def _look(self, wanted: Callable[[str], bool]) -> None:
        sharing = self._services.sharing
        if sharing is not None:
            self._instances = {one.name: one for one in await sharing.instances()}
        await adopt_others(
            self._settings.data_dir / "journal",
            self._options,
            self._services.ledger,
            self._services.metrics,
            self._snapshot().prices,
            timeout_s=ADOPT_S,
            terms=Adoption(
                wanted=lambda name: name not in self._kept and wanted(name),
                may_take=self._may_take,
                settled=self._settled,
            ),
        )

    def _is_due(self, name: str) -> bool:
        found = self._instances.get(name)
        lapsed = found is not None and found.state is InstanceState.LAPSED
        return name in self._again or (lapsed and self._settings.journal.adopt)

    async def _may_take(self, name: str) -> bool:
        """Whether it is dead. Then it is not to go on by itself."""
        sharing = self._services.sharing
        self._again.discard(name)
        home = home_of(self._settings.data_dir, name) if self._trusted else None
        try:
            if sharing is None or await sharing.take_over(name, home or ""):
                return await self._belongs(name)
        except (LedgerError, LedgerUnavailable) as error:
            LOG.warning("what %s left cannot be booked yet: %s", name, error)
        self._again.add(name)
        return False

    async def _belongs(self, name: str) -> bool:
        directory = self._settings.data_dir / "journal" / name
        try:
            await check_belongs(directory, self._services.ledger, self._services.reader)
        except (LedgerError, OSError) as error:
            LOG.error("%s", error)
            return False
        return True

    async def _settled(self, name: str) -> None:
        """Its journal is booked."""
        try:
            count = await self._end_holds(name)
            if self._services.sharing is not None:
                await self._services.sharing.settled(name)
        except (QuotaError, QuotaUnavailable, LedgerError, LedgerUnavailable) as error:
            LOG.warning("what %s holds of limits cannot be ended yet: %s", name, error)
            self._again.add(name)
        else:
            LOG.info("what %s left is booked; %d requests that it held have ended", name, count)

    async def _end_holds(self, name: str) -> int:
        """End what it holds in a shared quota; the number of requests."""
        services, home = self._services, home_of(self._settings.data_dir, name)
        if home is None and name in self._instances:
            home = self._instances[name].home
        left = None
        if home:
            left = await connect_left(self._settings.quota.url, home, ASK_S)
        if left is None:
            return 0
        try:
            return await end_as_booked(left, services.ledger, services.reader)
        finally:
            await left.aclose()


def home_of(data_dir: Path, writer: str) -> str | None:
    """The name under which this writer's process holds something; None: it has never had one."""
    path = data_dir / f"quota-{writer}.id"
    return (path.read_text().strip() or None) if path.exists() else None
