"""GET /v1/usage and /v1/usage/records/{id}: what the caller's own key and team have used.

They also tell how their limits stand, and each of the key's own records. Costs are the operator's
matter and are not shown; charges are. Nor is what others use: limits of the whole proxy and of an
upstream are not listed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from proxy.core.calendar import Per, window
from proxy.core.errors import invalid_request, unavailable
from proxy.core.limits.language import show, show_money
from proxy.dataplane.connection import Request
from proxy.dataplane.endpoints import team_usage
from proxy.dataplane.endpoints.own_records import as_shown, own_record
from proxy.dataplane.endpoints.sums import Sums
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable, RecordsArchived
from proxy.ledger.reading import UsageRow
from proxy.quota import QuotaUnavailable
from proxy.quota.status import standing
from proxy.tenants.ring import Tenant

RECORDS: Final = "/v1/usage/records/"
USAGE_ROUTES: Final = ("/v1/usage", *team_usage.ROUTES)
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
    """Answers /v1/usage. `sums` are those of the book, which the pages in a browser read too."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.sums = Sums(services.reader)
        self._team = team_usage.TeamUsage(services, self.sums, _shown)

    async def answer(
        self, request: Request, snapshot: Snapshot, tenant: Tenant, route: str, request_id: str
    ) -> None:
        """Writes the answer, or raises ProxyError 400, 403, 404 or 503."""
        body = await self.told(snapshot, tenant, route, request.target.partition("?")[2])
        headers = [
            (b"Content-Type", b"application/json"),
            (b"x-tollkeeper-id", request_id.encode()),
        ]
        request.connection.answer(request, 200, headers, msgspec.json.encode(body))

    async def told(
        self, snapshot: Snapshot, tenant: Tenant, route: str, query: str
    ) -> Mapping[str, Any]:
        """The body of an answer. Raises ProxyError 400, 403, 404 or 503."""
        with readable():
            if route in team_usage.ROUTES:
                return await self._team.answer(snapshot, tenant, route, query)
            if route.startswith(RECORDS):
                return await self._record(tenant, route.removeprefix(RECORDS))
            return await self._usage(snapshot, tenant)

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
                name: _shown(
                    await self.sums.of((), snapshot.zone, start_ms, key=tenant.key_id),
                    named=False,
                )
                for name, start_ms in (("today", day_ms), ("month", month_ms))
            },
        }

    async def _record(self, tenant: Tenant, id: str) -> dict[str, object]:
        entry = await own_record(self._services.reader, tenant, id)
        return as_shown(entry.record, entry.booked_at_ms)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Makes a ledger or quota that cannot be read now a ProxyError 503.

    What is archived is a 400, which names neither files nor the place of others in the book.
    """
    try:
        yield
    except RecordsArchived as error:
        last = datetime.fromtimestamp(error.last_start_ms // 1000, UTC).isoformat()
        raise invalid_request(
            f"Records of that time are archived, and are not told here. Ask for what started after "
            f"{last}, with `from`.",
            param="from",
        ) from error
    except (LedgerUnavailable, LedgerError) as error:
        raise unavailable(
            "ledger_unavailable", f"The ledger cannot be read now ({error}). Try again shortly."
        ) from error
    except QuotaUnavailable as error:
        raise unavailable(
            "quota_unavailable",
            f"The running counts cannot be read now ({error}). Try again shortly.",
        ) from error


def _shown(rows: Sequence[UsageRow], *, named: bool = True) -> list[dict[str, object]]:
    """Sums with the charge also as a decimal, and the key's name where several may stand there."""
    found: list[dict[str, object]] = []
    for row in rows:
        charge_nano = row["charge_nano"]
        charge = show_money(charge_nano) if isinstance(charge_nano, int) else None
        name = {"key": row["key"]} if named else {}
        found.append({**name, **{name: row[name] for name in _SUMS}, "charge": charge})
    return found
