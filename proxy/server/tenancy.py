"""Brings a change of keys and teams into effect while the proxy serves.

It is written first, with its audit; then it binds for the next request. Nothing in between can be
seen, since one change or reload runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from proxy.config.limits import limits_of_key, limits_of_team
from proxy.core.limits.rules import Limits, Rules
from proxy.core.managed import Carried, Managed, TenantChange, TenantKind
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.quota.rebuild import count_ended, restore
from proxy.tenants.directory import Directory


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
            what = await asyncio.to_thread(order, self._services.directory)
            directory = await asyncio.to_thread(self._services.directory.with_rows, what.rows)
            await self._services.ledger.change(what)
            await self._take(directory, what.rows)
            keys, _ = _named(directory, what.rows)
            return Carried(what, self._services.stop_running(keys) if cut else 0)

    async def _take(self, directory: Directory, rows: Sequence[Managed]) -> None:
        before = self._gateway.snapshot.rules
        keys, teams = _named(directory, rows)
        changed = (
            {name: _limits(directory, TenantKind.TEAM, name) for name in teams},
            {name: _limits(directory, TenantKind.KEY, name) for name in keys},
        )
        rules = before.changed(*changed)
        fresh = rules.of_some(teams, keys)
        if fresh.identities() <= before.of_some(teams, keys).identities():
            self._swap(directory, rules, keys)
            return
        services, settings = self._services, directory.settings
        quota, snapshot = services.quota, self._gateway.snapshot
        async with services.recorder.paused() as ended:
            counted = len(ended)
            await restore(
                quota,
                fresh,
                services.ledger,
                services.reader,
                ended[:counted],
                currency=settings.currency,
                zone=snapshot.zone,
                now_ms=services.now_ms(),
            )
            count_ended(quota, fresh, before, ended[counted:], settings.currency, services.now_ms())
            self._swap(directory, rules, keys)

    def _swap(self, directory: Directory, rules: Rules, keys: Sequence[str]) -> None:
        services, gateway = self._services, self._gateway
        services.admit(directory, services.keys.changed(directory, keys))
        gateway.use(gateway.snapshot.with_tenants(directory.settings, rules))


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
