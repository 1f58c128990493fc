"""GET /v1/usage and /v1/usage/records/{id}: what the caller's own key and team have used.

They also tell how their limits stand, and each of the key's own records. Costs are the operator's
matter and are not shown; charges are. Nor is what others use: limits of the whole proxy and of an
upstream are not listed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final, TypeAlias

import msgspec

from proxy.core.calendar import Per, window
from proxy.core.errors import ProxyError, unavailable
from proxy.core.limits.language import show, show_money
from proxy.dataplane.connection import Request
from proxy.dataplane.endpoints import team_usage
from proxy.dataplane.endpoints.own_records import as_shown
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.reading import UsageRow
from proxy.quota import QuotaUnavailable
from proxy.quota.status import standing
from proxy.tenants.ring import Tenant

RECORDS: Final = "/v1/usage/records/"
USAGE_ROUTES: Final = ("/v1/usage", *team_usage.ROUTES)
BELIEVED_S: Final = 5.0  # how long sums from the ledger are given out again
_Sum: TypeAlias = tuple[tuple[str, ...], int]  # by what, and since when
_ID = re.compile(r"[0-9a-f-]{36}")
_SUMS: Final = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "searches",
    "charge_nano",
    "currency",
)


class OwnUsage:
    """Answers /v1/usage.

    It remembers the sums of all keys for a few seconds, so that no caller can keep the ledger busy.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sums: dict[_Sum, tuple[float, asyncio.Task[list[UsageRow]]]] = {}
        self._team = team_usage.TeamUsage(services, self._since, _shown)

    async def answer(
        self, request: Request, snapshot: Snapshot, tenant: Tenant, route: str, request_id: str
    ) -> None:
        """Writes the answer, or raises ProxyError 400, 403, 404 or 503."""
        try:
            body: Mapping[str, object]
            if route in team_usage.ROUTES:
                query = request.target.partition("?")[2]
                body = await self._team.answer(snapshot, tenant, route, query)
            elif route.startswith(RECORDS):
                body = await self._record(tenant, route.removeprefix(RECORDS))
            else:
                body = await self._usage(snapshot, tenant)
        except (LedgerUnavailable, LedgerError) as error:
            raise unavailable(
                "ledger_unavailable", f"The ledger cannot be read now ({error}). Try again shortly."
            ) from error
        except QuotaUnavailable as error:
            raise unavailable(
                "quota_unavailable",
                f"The running counts cannot be read now ({error}). Try again shortly.",
            ) from error
        headers = [
            (b"Content-Type", b"application/json"),
            (b"x-tollkeeper-id", request_id.encode()),
        ]
        request.connection.answer(request, 200, headers, msgspec.json.encode(body))

    async def _usage(self, snapshot: Snapshot, tenant: Tenant) -> dict[str, object]:
        now_ms = self._services.now_ms()
        limits = snapshot.rules.of_tenant(tenant.key_id, tenant.team)
        own = [limit for limit in limits if limit.dimension is None]
        states = await self._services.quota.states(own, now_ms)
        day_ms, month_ms = (
            window(per, now_ms, snapshot.zone).start_ms for per in (Per.DAY, Per.MONTH)
        )
        return {
            "object": "usage",
            "key": tenant.key_id,
            "team": tenant.team,
            "timezone": str(snapshot.zone),
            "limits": [standing(state, snapshot.zone) for state in states],
            # Each value of these has a count of its own, which every answer tells its caller.
            "limits_per_value": [
                {"id": limit.id, "rule": show(limit.rule), "enforce": limit.enforce}
                for limit in limits
                if limit.dimension is not None
            ],
            "recent": {
                "today": _own(await self._since(snapshot, ("key",), day_ms), tenant),
                "month": _own(await self._since(snapshot, ("key",), month_ms), tenant),
            },
        }

    async def _since(self, snapshot: Snapshot, by: tuple[str, ...], from_ms: int) -> list[UsageRow]:
        """Sums since then; each question once at a time, and its answer for a few seconds."""
        known = self._sums.get((by, from_ms))
        if (
            known is None
            or monotonic() - known[0] > BELIEVED_S
            or (known[1].done() and known[1].exception() is not None)
        ):
            known = (
                monotonic(),
                asyncio.create_task(
                    asyncio.to_thread(self._services.reader.usage, by, from_ms, None, snapshot.zone)
                ),
            )
            self._sums = {
                question: sums
                for question, sums in self._sums.items()
                if monotonic() - sums[0] <= BELIEVED_S
            }
            self._sums[by, from_ms] = known
        return await asyncio.shield(known[1])

    async def _record(self, tenant: Tenant, id: str) -> dict[str, object]:
        entry = (
            await asyncio.to_thread(self._services.reader.record, id) if _ID.fullmatch(id) else None
        )
        if entry is None or not (
            entry.record.key_id == tenant.key_id
            or (tenant.lead and entry.record.team == tenant.team)
        ):
            message = (
                "This key has no record of that id. A record is there a moment after its answer"
                " has ended; the id is in the answer's x-tollkeeper-id."
            )
            raise ProxyError(404, "invalid_request_error", "record_not_found", message)
        return as_shown(entry.record, entry.booked_at_ms)


def _own(rows: Sequence[UsageRow], tenant: Tenant) -> list[dict[str, object]]:
    """The key's own sums, one row a currency."""
    return _shown([row for row in rows if row["key"] == tenant.key_id], named=False)


def _shown(rows: Sequence[UsageRow], *, named: bool = True) -> list[dict[str, object]]:
    """Sums with the charge also as a decimal, and the key's name where several may stand there."""
    found: list[dict[str, object]] = []
    for row in rows:
        charge_nano = row["charge_nano"]
        charge = show_money(charge_nano) if isinstance(charge_nano, int) else None
        name = {"key": row["key"]} if named else {}
        found.append({**name, **{name: row[name] for name in _SUMS}, "charge": charge})
    return found
