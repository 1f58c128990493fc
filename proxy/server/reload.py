"""Brings a changed config into effect while the proxy serves: all of the new one, or none of it.

A large config takes seconds to read and to compile, so both happen in a thread. The event loop only
counts what new limits have used and swaps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from proxy.config.loader import ConfigError, Loaded, carry_over, what_needs_restart
from proxy.config.settings import Settings
from proxy.core.pricing.served_models import ServedModels
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.listeners.acceptor import Acceptor
from proxy.quota.rebuild import count_ended, forget_others
from proxy.server.listening import clients_max
from proxy.server.past_use import count_limits, served_models
from proxy.tenants.directory import Directory
from proxy.tenants.ring import KeyRing

LOG = logging.getLogger("tollkeeper.server")


class _Compiled(msgspec.Struct, frozen=True):
    loaded: Loaded
    snapshot: Snapshot
    directory: Directory
    keys: KeyRing
    served: ServedModels


class Reloads:
    """One reload runs at a time, and at most one waits for its turn: later calls share that one.

    `read` gives the config as the files are now; it may block. `turn` is shared with all that
    changes what is in effect.
    """

    def __init__(
        self,
        read: Callable[[], Loaded] | None,
        loaded: Loaded,
        services: Services,
        gateway: Gateway,
        acceptor: Acceptor,
        turn: asyncio.Lock,
    ) -> None:
        self._read = read
        self._loaded = loaded
        self._services = services
        self._gateway = gateway
        self._acceptor = acceptor
        self._turn = turn
        self._waiting: asyncio.Task[None] | None = None

    async def reload(self) -> None:
        """Returns when a config read after this call is in effect, or was refused and told."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._reload_in_turn(), name="reload")
        await asyncio.shield(self._waiting)

    async def _reload_in_turn(self) -> None:
        async with self._turn:
            self._waiting = None  # a call from here on may want what is written from here on
            await self._reload()

    async def _reload(self) -> None:
        if self._read is None:
            LOG.warning("there is no config file to reload")
            return
        try:
            new = await asyncio.to_thread(self._compile, self._read)
            if new.snapshot.rules.identities() - self._gateway.snapshot.rules.identities():
                await self._take_with_new_limits(new)
            else:
                self._take(new)
        except (ConfigError, OSError, LedgerError, LedgerUnavailable) as error:
            self._services.metrics.reload(False)
            LOG.error("the config was not reloaded, the old one stays: %s", error)
        except Exception:  # a defect of ours; the old config goes on to serve
            self._services.metrics.reload(False)
            LOG.exception("the config was not reloaded, the old one stays")

    def _compile(self, read: Callable[[], Loaded]) -> _Compiled:
        """Reads and compiles, in the thread."""
        loaded = read()
        config = carry_over(self._loaded.settings, loaded.settings)
        directory = self._services.directory.with_config(config)
        snapshot = Snapshot(directory.settings)
        try:
            served = served_models(snapshot, self._services.reader)
        except (LedgerError, LedgerUnavailable) as error:  # this process knows most of it too
            LOG.warning("which models were served before this start cannot be read: %s", error)
            served = ServedModels(snapshot.prices)
        served.learn_all(self._services.served.seen)
        return _Compiled(loaded, snapshot, directory, KeyRing(directory), served)

    async def _take_with_new_limits(self, new: _Compiled) -> None:
        """Counts the use of new limits first, to the last record that ends before they hold."""
        snapshot = new.snapshot
        quota, rules = self._services.quota, self._gateway.snapshot.rules
        forget_others(quota, rules)  # what an earlier config left was not counted since
        async with self._services.recorder.paused() as ended:
            counted = len(ended)
            await count_limits(self._services, snapshot, ended[:counted])
            now_ms = self._services.now_ms()
            count_ended(
                quota, snapshot.rules, rules, ended[counted:], snapshot.settings.currency, now_ms
            )
            self._take(new)

    def _take(self, new: _Compiled) -> None:
        loaded, snapshot, served = new.loaded, new.snapshot, new.served
        for warning in loaded.warnings:
            LOG.warning("config: %s", warning)
        tell_faults(new.directory)
        fixed = what_needs_restart(self._loaded.settings, loaded.settings)
        if fixed:
            LOG.warning("these need a restart to take effect: %s", ", ".join(fixed))
        self._services.recorder.price_terms(snapshot.prices.version, snapshot.prices.terms())
        served.learn_all(self._services.served.seen)  # what was served meanwhile
        self._services.use(new.directory, new.keys, served)
        self._services.pools.use(snapshot.upstreams.values())
        self._gateway.use(snapshot)
        self._acceptor.allow(clients_max(snapshot.settings))
        describe(self._services, snapshot.settings)
        forget_others(self._services.quota, snapshot.rules)
        self._services.end_users.use(snapshot.settings.privacy.end_user)
        self._loaded = msgspec.structs.replace(loaded, settings=new.directory.config)
        self._services.metrics.reload(True)
        LOG.info("the config was reloaded")


def tell_faults(directory: Directory) -> None:
    """Tells of keys and teams of the database that this config has no place for."""
    for (kind, name), fault in directory.faults.items():
        LOG.warning("the %s %r of the database is refused: %s", kind, name, fault)


def describe(services: Services, settings: Settings) -> None:
    """Tells the metrics what the config names."""
    models = [route.model for route in settings.routes]
    models += [price.model for price in settings.prices]
    services.metrics.configured(models, services.keys.expiries_ms())
