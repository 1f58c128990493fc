"""Entries by hand over the admin API: `POST /admin/v1/ledger/adjust`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.accounting.adjust_order import AdjustOrder
from proxy.accounting.adjusting import Adjuster, ByHandDone, OrderedBy
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.admin.prices import tell_quota
from proxy.core.errors import invalid_request, unavailable
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable

ADJUST_PATH = "/admin/v1/ledger/adjust"

_LOG = logging.getLogger("tollkeeper.admin")


def adjust_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    """The route. Orders take turns: budgets must be told of each only once."""
    turn = asyncio.Lock()

    async def answer(ask: AdminRequest) -> ByHandDone:
        order: AdjustOrder = ask.body
        async with turn:
            now = snapshot()
            settings = services.directory.settings
            adjuster = Adjuster(
                services.reader,
                services.ledger,
                now.zone,
                now.prices.content,
                {"team": settings.teams, "key": settings.keys, "upstream": settings.upstreams},
                lambda record: tell_quota(services, now, record),
            )
            try:
                done = await adjuster.adjust(
                    order, OrderedBy(ask.asker.name, ask.origin, services.now_ms())
                )
            except LedgerError as error:
                raise invalid_request(f"{error}.") from error
            except LedgerUnavailable as error:
                message = (
                    f"The ledger cannot be used now ({error}). What is booked stays booked: the "
                    "same again books the rest."
                )
                raise unavailable("ledger_unavailable", message) from error
        if not order.dry_run:
            _LOG.info(
                "%s booked %d rows by hand as %s: %s",
                *(ask.asker.name, len(done.lines), order.id, order.reason),
            )
        return done

    return AdminEndpoint(
        "POST",
        ADJUST_PATH,
        "Book an amount by hand, or move a month's use to another team or label.",
        answer,
        body=AdjustOrder,
        returns=ByHandDone,
        errors=(409, 503),
    )
