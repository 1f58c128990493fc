"""`POST /admin/v1/prices/rerate` prices one stretch of a period anew.

See `proxy.accounting.rerating`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.accounting.rerating import Rerate, Rerated, rerate
from proxy.admin.app import AdminEndpoint, AdminRequest
from proxy.core.errors import invalid_request, unavailable
from proxy.core.limits.decisions import Used
from proxy.core.usage import UsageRecord
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable

RERATE_PATH = "/admin/v1/prices/rerate"

_LOG = logging.getLogger("tollkeeper.admin")


def rerate_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    """The route, which uses the prices of the config in effect.

    Runs take turns: two would book the same, but budgets must be told of it only once.
    """
    turn = asyncio.Lock()

    async def answer(ask: AdminRequest) -> Rerated:
        wanted = ask.read(Rerate)
        async with turn:
            now = snapshot()  # not before its turn: a reload may come while it waits
            try:
                done = await rerate(
                    wanted,
                    services.reader,
                    services.ledger,
                    now.prices,
                    now.zone,
                    lambda record: _tell_quota(services, now, record),
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

    return AdminEndpoint("POST", RERATE_PATH, answer)


def _tell_quota(services: Services, snapshot: Snapshot, adjustment: UsageRecord) -> None:
    """Count the difference in the budgets of the window in which the record counts."""
    if adjustment.charge_nano is None:
        return
    limits = snapshot.rules.limits_for(
        adjustment.key_id, adjustment.team, adjustment.upstream, adjustment.model_requested
    )
    services.quota.adjust(
        limits,
        adjustment.started_at_ms,
        Used(requests=0, charge_nano=adjustment.charge_nano),
        services.now_ms(),
    )
