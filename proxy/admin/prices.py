"""The prices in effect, and records priced anew by them.

`GET /admin/v1/prices` and `prices/versions/VERSION`; `POST /admin/v1/prices/rerate` prices one
stretch of a period anew (`proxy.accounting.rerating`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from proxy.accounting.rerating import Rerate, Rerated, rerate
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.core.errors import invalid_request, unavailable
from proxy.core.pricing.terms import Terms
from proxy.core.records.corrections import used_by
from proxy.core.usage import UsageRecord
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable

PRICES_PATH = "/admin/v1/prices"
VERSIONS_PATH = "/admin/v1/prices/versions"
RERATE_PATH = "/admin/v1/prices/rerate"


class Lead(msgspec.Struct, frozen=True):
    """A route: the models that it is for, and the upstream that they go to; the first one wins."""

    model: str
    upstream: str


class Prices(msgspec.Struct, frozen=True):
    """The prices in effect. `terms` has the rows, discounts, markups and exchange rates."""

    version: str
    timezone: str
    terms: Terms
    routes: list[Lead]
    upstreams: list[str]
    teams: list[str]


class PriceVersion(msgspec.Struct, frozen=True):
    """The prices that the amounts of some records were made with; null: the book has none."""

    terms: msgspec.Raw


_LOG = logging.getLogger("tollkeeper.admin")


def price_routes(services: Services, snapshot: Callable[[], Snapshot]) -> Sequence[AdminEndpoint]:
    """The prices in effect, and those of a version that records name."""

    async def in_effect(_ask: AdminRequest) -> Prices:
        now = snapshot()
        settings = now.settings
        return Prices(
            version=now.prices.version,
            timezone=settings.timezone,
            terms=now.prices.content,
            routes=[Lead(route.model, route.upstream) for route in settings.routes],
            upstreams=list(settings.upstreams),
            teams=list(settings.teams),
        )

    async def of_version(ask: AdminRequest) -> PriceVersion:
        kept = await read(lambda: services.reader.price_terms(ask.path["version"]))
        return PriceVersion(msgspec.Raw(b"null" if kept is None else kept))

    return (
        AdminEndpoint("GET", PRICES_PATH, "Show the prices in effect.", in_effect, returns=Prices),
        AdminEndpoint(
            "GET",
            f"{VERSIONS_PATH}/{{version}}",
            "Show the prices that records of a version were priced by.",
            of_version,
            returns=PriceVersion,
            errors=(503,),
        ),
    )


def rerate_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    """The route, which uses the prices of the config in effect.

    Runs take turns: two would book the same, but budgets must be told of it only once.
    """
    turn = asyncio.Lock()

    async def answer(ask: AdminRequest) -> Rerated:
        wanted = ask.body
        async with turn:
            now = snapshot()  # not before its turn: a reload may come while it waits
            try:
                done = await rerate(
                    wanted,
                    services.reader,
                    services.ledger,
                    now.prices,
                    now.zone,
                    lambda record: tell_quota(services, now, record),
                )
            except LedgerError as error:
                raise invalid_request(f"{error}.") from error
            except LedgerUnavailable as error:
                message = (
                    f"The ledger cannot be used now ({error}). What is booked stays booked: the "
                    "same again books the rest."
                )
                raise unavailable("ledger_unavailable", message) from error
        if not wanted.dry_run:
            _LOG.info(
                "%s rerated records %s by the prices %s: %d adjustments",
                ask.asker.name,
                done.period,
                done.price_version,
                done.verdicts["adjusted"],
            )
        return done

    return AdminEndpoint(
        "POST",
        RERATE_PATH,
        "Price one stretch of a period anew, and book the differences.",
        answer,
        body=Rerate,
        returns=Rerated,
        errors=(409, 503),
    )


def tell_quota(services: Services, snapshot: Snapshot, adjustment: UsageRecord) -> None:
    """Count the difference in the budgets of the window in which the adjustment counts."""
    used = msgspec.structs.replace(used_by(adjustment), requests=0)
    if not any((used.charge_nano, used.input_tokens, used.output_tokens)):
        return
    limits = snapshot.rules.limits_for(
        adjustment.key_id, adjustment.team, adjustment.upstream, adjustment.model_requested
    )
    services.quota.adjust(limits, adjustment.started_at_ms, used, services.now_ms())
