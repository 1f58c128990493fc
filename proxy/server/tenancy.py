"""Brings a change of keys and teams into effect while the proxy serves.

It is written first, with its audit; then it binds for the next request. Nothing in between can be
seen, since one change or reload runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from proxy.config.limits import limits_of_key, limits_of_team
from proxy.core.limits.rules import Limits, Rules
from proxy.core.managed import Carried, Managed, TenantChange, TenantKind
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.quota.rebuild import count_ended, restore
from proxy.tenants.directory import Directory
from proxy.tenants.ring import KeyRing


class _NewTenants(msgspec.Struct, frozen=True):
    """What a change brings into effect. `added`: the limits that nobody counted until now."""

    what: TenantChange
    keys: Sequence[str]
    directory: Directory
    ring: KeyRing
    snapshot: Snapshot
    fresh: Rules  # of the named teams and keys alone, and as they were before
    before: Rules
    added: Limits


class Tenancy:
    """Keys and teams as an administrator changes them. `turn` is shared with the reloads."""

    def __init__(self, services: Services, gateway: Gateway, turn: asyncio.Lock) -> None:
        self._services = services
        self._gateway = gateway
        self._turn = turn

    async def change(
        self, order: Callable[[Directory], TenantChange], *, cut: bool = False
    ) -> Carried:
        """Carries out an order; `cut` also ends what runs for keys that it closes.

        Raises the order's ProxyError, or LedgerUnavailable; then nothing has changed.
        """
        async with self._turn:
            # In a thread: an order may make ten thousand keys.
            new = await asyncio.to_thread(self._compile, order)
            if new.added:
                await self._write_counted(new)
            else:
                await self._services.ledger.change(new.what)
                self._take(new)
            return Carried(new.what, self._services.stop_running(new.keys) if cut else 0)

    def _compile(self, order: Callable[[Directory], TenantChange]) -> _NewTenants:
        """All that the change will be, before any of it is written."""
        services, snapshot = self._services, self._gateway.snapshot
        what = order(services.directory)
        directory = services.directory.with_rows(what.rows)
        keys, teams = _named(directory, what.rows)
        rules = snapshot.rules.changed(
            {name: _limits(directory, TenantKind.TEAM, name) for name in teams},
            {name: _limits(directory, TenantKind.KEY, name) for name in keys},
        )
        fresh, before = rules.of_some(teams, keys), snapshot.rules.of_some(teams, keys)
        known = before.identities()
        return _NewTenants(
            what,
            keys,
            directory,
            services.keys.changed(directory, keys),
            snapshot.with_tenants(directory.settings, rules),
            fresh,
            before,
            tuple(limit for limit in fresh.configured() if limit.count_id not in known),
        )

    async def _write_counted(self, new: _NewTenants) -> None:
        """Counts what new limits have used, then writes: what fails leaves nothing written."""
        services, currency = self._services, new.directory.settings.currency
        # A limit that was taken back and comes again has an old count, which missed what passed.
        services.quota.forget(new.added)
        async with services.recorder.paused() as ended:
            counted = len(ended)
            await restore(
                services.quota,
                new.fresh,
                services.ledger,
                services.reader,
                ended[:counted],
                currency=currency,
                zone=new.snapshot.zone,
                now_ms=services.now_ms(),
            )
            await services.ledger.change(new.what)
            later, now_ms = ended[counted:], services.now_ms()
            count_ended(services.quota, new.fresh, new.before, later, currency, now_ms)
            self._take(new)

    def _take(self, new: _NewTenants) -> None:
        self._services.admit(new.directory, new.ring)
        self._gateway.use(new.snapshot)


def _named(directory: Directory, rows: Sequence[Managed]) -> tuple[list[str], list[str]]:
    """The keys and teams whose state these rows change: a team's row changes all of its keys."""
    keys = {row.name for row in rows if row.kind is TenantKind.KEY}
    teams = [row.name for row in rows if row.kind is TenantKind.TEAM]
    if teams:
        keys |= {name for name, key in directory.settings.keys.items() if key.team in teams}
    return sorted(keys), teams


def _limits(directory: Directory, kind: TenantKind, name: str) -> Limits | None:
    settings = directory.settings
    if kind is TenantKind.KEY:
        return limits_of_key(settings, name) if name in settings.keys else None
    return limits_of_team(settings, name) if name in settings.teams else None
