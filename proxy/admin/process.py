"""`GET /admin/v1/health`: which process answers, and how it is."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from proxy import __version__
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot

HEALTH_PATH = "/admin/v1/health"


class Process(msgspec.Struct, frozen=True):
    """The running process.

    `ready` is what /readyz says. `backlog_records` have ended and are not in the ledger yet.
    Requests are priced by `price_version`.
    """

    version: str
    pid: int
    started_at_ms: int
    ready: bool
    why_not_ready: str | None
    open_exchanges: int
    backlog_records: int
    price_version: str


def process_route(
    services: Services, snapshot: Callable[[], Snapshot], why_not_ready: Callable[[], str | None]
) -> AdminEndpoint:
    started_at_ms = services.now_ms()

    async def answer(_ask: AdminRequest) -> Process:
        reason = why_not_ready()
        return Process(
            version=__version__,
            pid=os.getpid(),
            started_at_ms=started_at_ms,
            ready=reason is None,
            why_not_ready=reason,
            open_exchanges=services.journal.open_count,
            backlog_records=services.recorder.backlog,
            price_version=snapshot().prices.version,
        )

    return AdminEndpoint("GET", HEALTH_PATH, "Tell how the process is.", answer, returns=Process)
