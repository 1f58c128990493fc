"""What a key may read beside its own sums: its records, its refusals, and a lead its whole team's.

`GET /v1/usage/team`, `/v1/usage/keys`, `/v1/usage/records`, `/v1/usage/refusals`. Who asks decides
what is read: no parameter names a team, and a key that leads none sees its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec

from proxy.core import dates
from proxy.core.calendar import Per, window
from proxy.core.cursors import Cursors
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.parameters import read_parameters
from proxy.core.limits.limit import Limit
from proxy.core.managed import TenantKind
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.dataplane.endpoints.own_records import as_shown, may_read
from proxy.dataplane.endpoints.sums import Sums
from proxy.dataplane.endpoints.turns import Turns
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import RefusalSum, Row, Stretch, UsageRow
from proxy.quota.status import LimitStatus, standing
from proxy.tenants.directory import state_of_key
from proxy.tenants.orders import key_of
from proxy.tenants.ring import Tenant

TEAM: Final = "/v1/usage/team"
KEYS: Final = "/v1/usage/keys"
RECORDS: Final = "/v1/usage/records"
REFUSALS: Final = "/v1/usage/refusals"
ROUTES: Final = (TEAM, KEYS, RECORDS, REFUSALS)
KEYS_MAX: Final = 100  # keys in one page, each with its limits
SCANNED_MAX: Final = 20_000  # records that are looked at for one page
PAGES_AT_ONCE: Final = 3  # each takes one of the threads that all share
_KEY, _TEAM, _SEQ = COLUMNS.index("key_id"), COLUMNS.index("team"), COLUMNS.index("seq")

Shown = Callable[[Sequence[UsageRow]], list[dict[str, object]]]


class RangeAsked(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A range of time."""

    from_: str | None = None
    to: str | None = None


class RecordsAsked(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A page of records, behind what a page before said with `next`."""

    after: str | None = None
    from_: str | None = None
    to: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class KeysAsked(msgspec.Struct, frozen=True):
    """A page of keys, behind a name."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=KEYS_MAX)] = KEYS_MAX


class NothingAsked(msgspec.Struct, frozen=True):
    """No parameters."""


class TeamUsage:
    """Answers these routes. `sums` are those of the book, `shown` makes an answer of some.

    Each key reads one page of records at a time, and few do at once, so that no caller can keep the
    ledger busy or others waiting.
    """

    def __init__(self, services: Services, sums: Sums, shown: Shown) -> None:
        self._services = services
        self._sums = sums
        self._shown = shown
        self._turns = Turns(PAGES_AT_ONCE)
        self._cursors = Cursors(os.urandom(32))  # a cursor is good until the process ends

    async def answer(
        self, snapshot: Snapshot, tenant: Tenant, route: str, query: str
    ) -> Mapping[str, object]:
        """The body of an answer. Raises ProxyError 400 or 403."""
        given = parse_qsl(query, keep_blank_values=True)
        match route:
            case _ if route == TEAM:
                read_parameters(NothingAsked, given)
                return await self._of_team(snapshot, _led(tenant))
            case _ if route == KEYS:
                return await self._keys(snapshot, tenant, read_parameters(KeysAsked, given))
            case _ if route == RECORDS:
                return await self._records(snapshot, tenant, read_parameters(RecordsAsked, given))
        asked = read_parameters(RangeAsked, given)
        return await self._refusals(snapshot, tenant, asked)

    async def _of_team(self, snapshot: Snapshot, team: str) -> dict[str, object]:
        limits = [one for one in snapshot.rules.of_tenant("", team) if one.scope_id == team]
        return {
            "object": "usage.team",
            "team": team,
            "timezone": str(snapshot.zone),
            "limits": await self._states(snapshot, limits),
            "recent": {
                name: self._shown(rows)
                for name, rows in (await self._recent(snapshot, ("key",), team, None)).items()
            },
        }

    async def _keys(
        self, snapshot: Snapshot, tenant: Tenant, asked: KeysAsked
    ) -> dict[str, object]:
        directory = self._services.directory
        names = await asyncio.to_thread(self._names, tenant)
        page = [name for name in names if name > asked.after][: asked.limit + 1]
        leads = tenant.lead and tenant.team is not None
        own = None if leads else tenant.key_id
        recent = await self._recent(snapshot, ("team", "key"), tenant.team, own)
        keys = []
        for name in page[: asked.limit]:
            told = directory.settings.keys.get(name) or key_of(
                directory.rows.get((TenantKind.KEY, name))
            )
            limits = [one for one in snapshot.rules.of_tenant(name, None) if one.scope_id == name]
            keys.append(
                {
                    "key": name,
                    "role": told.role,
                    "state": state_of_key(directory, name, told.team),
                    "models": told.models,
                    "expires": told.expires,
                    "limits": await self._states(snapshot, limits),
                    "recent": {
                        when: self._shown(
                            [
                                row
                                for row in rows
                                if (row["key"], row["team"]) == (name, tenant.team)
                            ]
                        )
                        for when, rows in recent.items()
                    },
                }
            )
        following = page[asked.limit - 1] if len(page) > asked.limit else None
        return {"object": "list", "data": keys, "next": following}

    async def _records(
        self, snapshot: Snapshot, tenant: Tenant, asked: RecordsAsked
    ) -> dict[str, object]:
        after = 0 if asked.after is None else self._cursors.opened(asked.after)
        if after is None:
            raise invalid_request(
                "after is not what a page before said with `next`. It is good until the proxy is"
                " started again: ask once more with `from`.",
                param="after",
            )
        from_ms, to_ms = _range_ms(snapshot, asked.from_, asked.to)

        def page() -> tuple[list[dict[str, object]], int | None]:
            reader = self._services.reader
            whole = Stretch(
                after=after, through=max(after, reader.head()), from_ms=from_ms, to_ms=to_ms
            )
            stretch = reader.narrowed(whole)
            shown: list[dict[str, object]] = []
            last = after
            for part in reader.pages(stretch):
                for row in part.rows:
                    if may_read(tenant, row[_KEY], row[_TEAM]):
                        if len(shown) == asked.limit:
                            return shown, last
                        shown.append(_as_shown(row))
                        last = int(row[_SEQ] or 0)
                done = part.upto_seq >= stretch.through
                if not done and part.upto_seq - stretch.after >= SCANNED_MAX:
                    return shown, part.upto_seq
            return shown, None

        async with self._turns.of(tenant.key_id):
            records, upto = await answer_of(page)
        following = None if upto is None else self._cursors.sealed(upto)
        return {"object": "list", "data": records, "next": following}

    async def _refusals(
        self, snapshot: Snapshot, tenant: Tenant, asked: RangeAsked
    ) -> dict[str, object]:
        bounds = _range_ms(snapshot, asked.from_, asked.to)

        def rows() -> list[RefusalSum]:
            return [
                row
                for row in self._services.reader.refusals(*bounds)
                if may_read(tenant, row.key_id, row.team)
            ]

        async with self._turns.of(tenant.key_id):
            found = await answer_of(rows)
        shown: dict[tuple[str | None, str, str | None], RefusalSum] = {}
        for row in found:
            # A limit that others share is not named to callers, nor one of an earlier team.
            own = snapshot.rules.of_tenant(row.key_id or "", tenant.team)
            limit = row.limit_id if any(one.id == row.limit_id for one in own) else None
            group = (row.key_id, row.code, limit)
            shown[group] = _added(shown.get(group), row)
        return {
            "object": "list",
            "data": [
                {
                    "key": key,
                    "code": code,
                    "limit": limit,
                    "refusals": row.count,
                    "first_ms": row.first_ms,
                    "last_ms": row.last_ms,
                }
                for (key, code, limit), row in sorted(
                    shown.items(), key=lambda item: item[1].count, reverse=True
                )
            ],
        }

    def _names(self, tenant: Tenant) -> list[str]:
        """The keys that it may read of."""
        if not tenant.lead or tenant.team is None:
            return [tenant.key_id]
        return self._services.directory.keys_of(tenant.team)

    async def _recent(
        self, snapshot: Snapshot, by: tuple[str, ...], team: str | None, key: str | None
    ) -> dict[str, list[UsageRow]]:
        now_ms = self._services.now_ms()
        return {
            name: await self._sums.of(
                by,
                snapshot.zone,
                window(per, now_ms, snapshot.zone).start_ms,
                team=team,
                key=key,
            )
            for name, per in (("today", Per.DAY), ("month", Per.MONTH))
        }

    async def _states(self, snapshot: Snapshot, limits: Sequence[Limit]) -> list[LimitStatus]:
        states = await self._services.quota.states(limits, self._services.now_ms())
        return [standing(state, snapshot.zone) for state in states]


def _led(tenant: Tenant) -> str:
    """The team that it leads."""
    if not tenant.lead or tenant.team is None:
        raise ProxyError(
            403,
            "invalid_request_error",
            "not_a_lead",
            f"The key {tenant.key_id!r} may read its own use alone: GET /v1/usage. A key with"
            " `role: lead` may read its team's.",
        )
    return tenant.team


def _added(before: RefusalSum | None, row: RefusalSum) -> RefusalSum:
    """The two as one row."""
    if before is None:
        return row
    return msgspec.structs.replace(
        row,
        count=before.count + row.count,
        first_ms=min(before.first_ms, row.first_ms),
        last_ms=max(before.last_ms, row.last_ms),
    )


def _as_shown(row: Row) -> dict[str, object]:
    stored = dict(zip(COLUMNS, row, strict=True))
    return as_shown(record_from(stored), int(stored["booked_at_ms"] or 0))


def _range_ms(
    snapshot: Snapshot, from_: str | None, to: str | None
) -> tuple[int | None, int | None]:
    ends: list[int | None] = []
    for name, text in (("from", from_), ("to", to)):
        try:
            moment = None if text is None else dates.moment(text, snapshot.zone)
            ends.append(None if moment is None else dates.unix_ms(moment))
        except ValueError as error:
            raise invalid_request(f"{name}: {error}", param=name) from error
    return ends[0], ends[1]
