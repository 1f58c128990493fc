"""Follows what other processes write into a shared ledger: keys, teams, suspensions and credits.

It hears of it at once, or at its next look. Others see by its looks that this process lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from proxy.accounting.clearing import clear_ms
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.sharing import HeardOf, NameTaken, Sharing
from proxy.server.tenancy import Tenancy
from proxy.tenants.directory import Directory
from proxy.tenants.ring import KeyRing

LOG = logging.getLogger("tollkeeper.server")
AGAIN_S: Final = 0.2  # until the ledger is asked again, when it was away
TELL_S: Final = 2.0  # of silence


class Following:
    """The keys and credits of other processes, as they come. `run` runs beside the requests."""

    def __init__(
        self,
        sharing: Sharing,
        services: Services,
        gateway: Gateway,
        tenancy: Tenancy,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._sharing = sharing
        self._services = services
        self._gateway = gateway
        self._tenancy = tenancy
        self._now_s = now_s
        self._told = False  # that nothing is heard
        self._closed: KeyRing | None = None  # what is served once keys made at run time are not
        self._missing: Callable[[], Awaitable[None]] | None = None
        services.heard(now_s())

    def begin_late(self, silent_s: float, missing: Callable[[], Awaitable[None]]) -> None:
        """The ledger was away at the start, and last heard so long ago.

        `missing` makes up for what the start has missed, before the first news. It is called until
        it raises neither LedgerError nor LedgerUnavailable.
        """
        self._missing = missing
        self._services.heard(self._now_s() - silent_s)
        self._missed(LedgerUnavailable("it is away since before this start"))

    async def run(self) -> None:
        """Until cancelled. Raises NameTaken: the process must not go on under its name."""
        while True:
            try:
                await self._make_up()
                services = self._services
                clear = clear_ms(services.journal, services.now_ms(), services.begun_ms())
                there = await self._sharing.look(clear)
                self._tell_versions(there)
                if there != self._tenancy.known:
                    await self._tenancy.hear()
                    self._tell_versions(there)
            except NameTaken:
                raise
            except (LedgerError, LedgerUnavailable) as error:
                self._missed(error)
                await asyncio.sleep(AGAIN_S)
            else:
                self._heard()
                await self._tenancy.note_heard()

    def _tell_versions(self, there: HeardOf) -> None:
        known = self._tenancy.known.tenants
        self._services.saw_versions(known, max(there.tenants, known))

    async def _make_up(self) -> None:
        if self._missing is not None:
            await self._missing()
            self._missing = None

    def _heard(self) -> None:
        services = self._services
        if self._told:
            LOG.warning("what other processes write is heard again")
        if self._closed is not None:
            services.admit(services.directory, KeyRing(services.directory))
        self._told, self._closed = False, None
        services.heard(self._now_s())

    def _missed(self, error: Exception) -> None:
        services = self._services
        silent_s = self._now_s() - (services.heard_s or 0.0)
        if silent_s >= TELL_S and not self._told:
            self._told = True
            LOG.error(
                "keys and credits stay as they were heard of last, and unknown keys are refused"
                " with 503: %s",
                error,
            )
        most_s = self._gateway.snapshot.settings.admin.stale_max_s
        # A reload meanwhile makes another ring, with all keys.
        if most_s is not None and silent_s >= most_s and services.keys is not self._closed:
            self._closed = KeyRing(of_the_config(services.directory))
            services.admit(services.directory, self._closed)
            LOG.error("keys made at run time are refused: nothing was heard for %.0f s", silent_s)


def of_the_config(directory: Directory) -> Directory:
    """The keys and teams of the config alone, each in the state that is known of it."""
    return Directory(directory.config, [row for row in directory.rows.values() if row.file])
