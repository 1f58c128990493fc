"""Brings a change of keys and teams into effect while the proxy serves.

It is written first, with its audit; then it binds for the next request. Nothing in between can be
seen, since one change or reload runs at a time. What another process has written binds in the same
way, and an order is made anew where one has written meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from proxy.config.limits import limits_of_key, limits_of_team
from proxy.core.limits.credit import Credit
from proxy.core.limits.rules import Limits, Rules
from proxy.core.managed import Carried, Managed, TenantChange, TenantKind
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerOutdated, LedgerUnavailable
from proxy.ledger.sharing import HeardOf
from proxy.quota.rebuild import count_ended, restore
from proxy.server.known_keys import KeptKeys
from proxy.tenants.directory import Directory
from proxy.tenants.orders import cutting
from proxy.tenants.ring import KeyRing

LOG = logging.getLogger("tollkeeper.server")
_First: TypeAlias = Callable[[], Awaitable[None]]  # what is done before a change is written
_Write: TypeAlias = Callable[[_First | None], Awaitable[None]]
OUTDATED_MAX = 10  # orders made anew in a row, because others were written
UNCOUNTED_MAX = 3  # and because the shared counts were lost meanwhile
WHOLE_S = 2.0  # for the counts to be built


class _NotCounted(Exception):
    """The shared counts were lost while an order had new limits counted."""


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
    """Keys and teams as an administrator changes them. `turn` is shared with the reloads.

    `kept`: the file of what is known, where processes share the ledger.
    """

    def __init__(
        self, services: Services, gateway: Gateway, turn: asyncio.Lock, kept: KeptKeys | None = None
    ) -> None:
        self._services = services
        self._gateway = gateway
        self._turn = turn
        self._kept = kept
        self._known = HeardOf()  # what others wrote, and this process knows

    @property
    def known(self) -> HeardOf:
        """How much of what is written in a shared ledger is in effect here."""
        return self._known

    async def change(
        self, order: Callable[[Directory], TenantChange], *, cut: bool = False
    ) -> Carried:
        """Carries out an order; `cut` also ends what runs for keys that it closes.

        Raises the order's ProxyError, or LedgerUnavailable; then nothing has changed.
        """
        async with self._turn:
            if self._services.sharing is not None:
                await self._hear()  # so that what was done through another process is known here
                if cut:  # the others read from the rows that they are to cut too
                    order = _that_cuts(order, self._services.now_ms())
            uncounted = 0
            for _ in range(OUTDATED_MAX):
                # In a thread: an order may make ten thousand keys.
                new = await asyncio.to_thread(self._compile, order)
                may_wait = uncounted < UNCOUNTED_MAX
                try:
                    await self._carry_out(
                        new, partial(self._write, new.what), fresh=True, may_wait=may_wait
                    )
                except LedgerOutdated:
                    await self._hear()
                    continue
                except _NotCounted:
                    uncounted += 1
                    await self._until_whole()
                    continue
                ended = self._services.stop_running(new.keys) if cut else 0
                await self._keep()  # before it is answered
                return Carried(new.what, ended)
        raise LedgerUnavailable("other processes change keys and teams all the time: try again")

    async def _until_whole(self) -> None:
        """Wait a moment for counts. Not while an order is written, which their builder may need."""
        shared = self._services.quota.shared
        assert shared is not None, "counts of this process alone are not lost"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WHOLE_S):
                await shared.whole()

    async def hear(self) -> None:
        """Bring into effect what other processes have written. Raises LedgerUnavailable.

        Running requests of keys that are closed go on, unless the order was to cut them.
        """
        async with self._turn:
            await self._hear()

    async def _hear(self) -> None:
        services = self._services
        assert services.sharing is not None, "there are other processes"
        news = await services.sharing.news(self._known)
        rows = services.directory.rows
        others = tuple(row for row in news.tenants if rows.get((row.kind, row.name)) != row)
        if others:
            what = TenantChange(others, ())
            new = await asyncio.to_thread(self._compile, lambda _: what)
            cut = [row for row in others if _orders_cut(row, rows.get((row.kind, row.name)))]
            await self._carry_out(new, _nothing, fresh=self._counts_alone)
            LOG.info("other processes changed %d keys and teams", len(others))
            if cut:
                ended = services.stop_by_order(_ordered_ms(new.directory, cut))
                LOG.info("%d running requests were ended by the order of another process", ended)
        for credit in news.credits:
            services.quota.grant(credit, services.now_ms())
        before, self._known = self._known.tenants, news.known
        if news.known.tenants < before:
            LOG.error(
                "the ledger has keys and teams of an earlier state (version %d, known %d): this"
                " process goes on with what it knows. Was the ledger restored from a backup? Order"
                " anew what is missing, and restart the processes",
                news.known.tenants,
                before,
            )
        if news.known.tenants != before:
            await self._keep()

    async def note_heard(self) -> None:
        """All that others have written is in effect."""
        if self._kept is not None:
            services = self._services
            await self._kept.heard(services.directory, self._known.tenants, services.now_ms())

    async def _keep(self) -> None:
        if self._kept is not None:
            services = self._services
            await self._kept.write(services.directory, self._known.tenants, services.now_ms())

    async def alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work while nothing changes what is in effect."""
        async with self._turn:
            await work()

    @property
    def _counts_alone(self) -> bool:
        """Whether no other process counts in this one's quota."""
        return self._gateway.snapshot.settings.quota.url == "memory:"

    async def _write(self, what: TenantChange, first: _First | None) -> None:
        if self._services.sharing is None:
            await self._services.ledger.change(what, first=first)
            return
        await self._services.ledger.change(what, self._known.tenants, first)
        if what.rows:
            version = self._known.tenants + 1
            self._known = msgspec.structs.replace(self._known, tenants=version)

    async def _carry_out(
        self, new: _NewTenants, write: _Write, *, fresh: bool, may_wait: bool = False
    ) -> None:
        """Write the change, then have it hold.

        `fresh`: its new limits have no counts yet. `may_wait`: raise _NotCounted, and write
        nothing, where their use cannot be counted now.
        """
        if new.added:
            await self._write_counted(new, write, fresh, may_wait)
        else:
            await write(None)
            self._take(new)

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

    async def _write_counted(
        self, new: _NewTenants, write: _Write, fresh: bool, may_wait: bool
    ) -> None:
        """Counts what new limits have used, then writes: what fails leaves nothing written."""
        services, currency = self._services, new.directory.settings.currency
        # The ledger cannot be asked while it writes. Credits that come later are heard of.
        credited = _Credited(await services.ledger.credits())
        async with services.recorder.paused() as ended:
            counted = len(ended)

            async def count() -> None:
                """Nobody else can write now, so what is dropped is nobody's count.

                A limit that was taken back and comes again has an old one, which missed what
                passed. All processes have the keys and teams of the ledger, so no other one
                counts a limit that is written here first.
                """
                if fresh:
                    services.quota.forget(new.added, everywhere=True)
                is_counted = await restore(
                    services.quota,
                    new.fresh,
                    credited,
                    services.reader,
                    ended[:counted],
                    currency=currency,
                    zone=new.snapshot.zone,
                    now_ms=services.now_ms(),
                )
                if may_wait and not is_counted:
                    raise _NotCounted

            await write(count)
            later, now_ms = ended[counted:], services.now_ms()
            count_ended(services.quota, new.fresh, new.before, later, currency, now_ms)
            self._take(new)

    def _take(self, new: _NewTenants) -> None:
        self._services.admit(new.directory, new.ring)
        self._gateway.use(new.snapshot)


class _Credited:
    """The credits of a ledger, as they were."""

    def __init__(self, credits: Sequence[Credit]) -> None:
        self._credits = credits

    async def credits(self) -> Sequence[Credit]:
        return self._credits


def _that_cuts(
    order: Callable[[Directory], TenantChange], at_ms: int
) -> Callable[[Directory], TenantChange]:
    """The order, whose rows also say that what runs ends."""
    return lambda directory: cutting(order(directory), at_ms)


def _orders_cut(row: Managed, before: Managed | None) -> bool:
    """Whether a row of another process orders a cut that was not carried out here."""
    return row.cut_at_ms not in (None, None if before is None else before.cut_at_ms)


def _ordered_ms(directory: Directory, rows: Sequence[Managed]) -> dict[str, int]:
    """When these rows order what runs to end, for each key that they concern."""
    found: dict[str, int] = {}
    for row in rows:
        for name in _named(directory, [row])[0]:
            found[name] = max(found.get(name, 0), row.cut_at_ms or 0)
    return found


async def _nothing(first: _First | None) -> None:
    """What another process has written is not written again."""
    if first is not None:
        await first()


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
