"""Brings a changed config into effect while the proxy serves: all of the new one, or none of it.

A large config takes seconds to read and to compile, so both happen in a thread. The event loop only
counts what new limits have used and swaps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from proxy.admin.reload import CHANGES_MAX, Reloaded, ReloadOrder
from proxy.config.aliases import sent_names
from proxy.config.loader import ConfigError, Loaded, carry_over, what_needs_restart
from proxy.config.settings import Settings, admin_listens
from proxy.core.errors import ProxyError, unavailable
from proxy.core.pricing.served_models import ServedModels
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.listeners.acceptor import Acceptor
from proxy.quota.rebuild import count_ended, forget_others
from proxy.server.config_history import BY_SIGNAL, ConfigHistory, name_of
from proxy.server.listening import clients_max
from proxy.server.past_use import count_limits, served_models
from proxy.tenants.directory import Directory
from proxy.tenants.orders import By
from proxy.tenants.ring import KeyRing

LOG = logging.getLogger("tollkeeper.server")


class _Compiled(msgspec.Struct, frozen=True):
    loaded: Loaded
    snapshot: Snapshot
    directory: Directory
    keys: KeyRing
    served: ServedModels
    seen: Mapping[str, Any]  # what is compared of the config, for the audit
    needs_restart: Sequence[str]


IDLE_TOLD_MAX = 10  # teams in a line of the log
SIGNALLED = ReloadOrder(*BY_SIGNAL)


class Reloads:
    """One reload runs at a time, and at most one of each order waits: later calls share that one.

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
        history: ConfigHistory,
    ) -> None:
        self._read = read
        self._loaded = loaded
        self._services = services
        self._gateway = gateway
        self._acceptor = acceptor
        self._turn = turn
        self._history = history
        self._admin_listens = admin_listens(loaded.settings)
        self._waiting: dict[ReloadOrder, asyncio.Task[Reloaded]] = {}

    async def reload(self, order: ReloadOrder = SIGNALLED) -> Reloaded:
        """Returns when a config read after this call is in effect.

        Raises ProxyError where it was refused, which the log tells too; then the old one holds.
        """
        if order not in self._waiting:
            waiting = asyncio.create_task(self._reload_in_turn(order), name="reload")
            self._waiting[order] = waiting
        return await asyncio.shield(self._waiting[order])

    async def _reload_in_turn(self, order: ReloadOrder) -> Reloaded:
        async with self._turn:
            # A call from here on may want what is written from here on.
            del self._waiting[order]
            return await self._reload(order)

    async def _reload(self, order: ReloadOrder) -> Reloaded:
        if self._read is None:
            LOG.warning("there is no config file to reload")
            message = (
                "This process runs without a config file that it could read again. Restart it, with"
                " `tollkeeper serve -c FILE` if it is to have one."
            )
            raise _not_reloaded(409, "no_config_file", message)
        try:
            new = await asyncio.to_thread(self._compile, self._read)
            if new.snapshot.rules.identities() - self._gateway.snapshot.rules.identities():
                await self._take_with_new_limits(new)
            else:
                self._take(new)
        except (ConfigError, OSError) as error:
            self._services.metrics.reload(False)
            LOG.error("the config was not reloaded, the old one stays: %s", error)
            raise _not_reloaded(422, "config_refused", f"{error}") from error
        except (LedgerError, LedgerUnavailable) as error:
            self._services.metrics.reload(False)
            LOG.error("the config was not reloaded, the old one stays: %s", error)
            message = f"The limits cannot be counted now ({error}); the old config stays."
            raise unavailable("ledger_unavailable", message) from error
        except Exception as error:  # a defect of ours; the old config goes on to serve
            self._services.metrics.reload(False)
            LOG.exception("the config was not reloaded, the old one stays")
            message = "The proxy failed at this; its log says why. The old config stays."
            raise ProxyError(500, "api_error", "internal_error", message) from error
        return await self._told(order, new)

    async def _told(self, order: ReloadOrder, new: _Compiled) -> Reloaded:
        """Ends what is to be cut, and writes the audit of a config that is in effect."""
        ended = self._services.stop_running() if order.cut else 0
        by = By(order.actor, order.origin, self._services.now_ms(), order.reason)
        changed = await self._history.tell(new.seen, name_of(new.loaded), by, "reload")
        return Reloaded(
            changed=changed[:CHANGES_MAX],
            more=max(0, len(changed) - CHANGES_MAX),
            needs_restart=new.needs_restart,
            warnings=new.loaded.warnings,
            ended=ended,
        )

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
        fixed = what_needs_restart(self._loaded.settings, loaded.settings)
        if admin_listens(loaded.settings) and not self._admin_listens:
            fixed = (*fixed, "admin.tokens")
        seen = self._history.seen(config)
        return _Compiled(loaded, snapshot, directory, KeyRing(directory), served, seen, fixed)

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
        if new.needs_restart:
            LOG.warning("these need a restart to take effect: %s", ", ".join(new.needs_restart))
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


def _not_reloaded(status: int, code: str, message: str) -> ProxyError:
    return ProxyError(status, "invalid_request_error", code, message)


def tell_faults(directory: Directory) -> None:
    """Tells of keys and teams of the database that this config has no place for, and idle teams."""
    for (kind, name), fault in directory.faults.items():
        LOG.warning("the %s %r of the database is refused: %s", kind, name, fault)
    settings = directory.settings
    used = {key.team for key in settings.keys.values()}
    idle = [name for name in settings.teams if name not in used]
    if settings.keys and idle:
        some = ", ".join(idle[:IDLE_TOLD_MAX]) + " …" * (len(idle) > IDLE_TOLD_MAX)
        LOG.warning("teams without a key, in the config or made at run time: %s", some)


def describe(services: Services, settings: Settings) -> None:
    """Tells the metrics what the config names."""
    models = [route.model for route in settings.routes]
    models += [price.model for price in settings.prices]
    services.metrics.configured(models, sent_names(settings))
