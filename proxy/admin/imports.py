"""`POST /admin/v1/import`: keys and teams that another gateway has, some at a time."""

from __future__ import annotations

import asyncio

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, NoQuery
from proxy.admin.tenants import Changing, Shown, carry_out, order_by
from proxy.core.managed import TenantChange
from proxy.tenants.directory import Directory
from proxy.tenants.importing import Imported, Incoming, take_over

IMPORT_PATH = "/admin/v1/import"


class ImportOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to take over. A dry run says what would become of each, and changes nothing."""

    rows: list[Incoming]
    dry_run: bool
    reason: str | None = None


class ImportAnswer(msgspec.Struct, frozen=True):
    """What became of each row, in their order."""

    rows: list[Imported]


def import_route(services: Shown, change: Changing) -> AdminEndpoint:
    """All rows of a request are written together, but for those that are refused."""

    async def answer(ask: AdminRequest) -> ImportAnswer:
        order: ImportOrder = ask.body
        by = order_by(services, ask, order.reason)
        # In a thread: beside ten thousand keys it takes a while, and others are served meanwhile.
        planned, told = await asyncio.to_thread(take_over, services.directory, order.rows, by)
        if order.dry_run or not planned.rows:
            return ImportAnswer(told)

        def take(now: Directory) -> TenantChange:
            nonlocal told
            made, told = take_over(now, order.rows, by)
            return made

        await carry_out(change, take)
        return ImportAnswer(told)

    return AdminEndpoint(
        "POST",
        IMPORT_PATH,
        "Take keys and teams of another gateway over.",
        answer,
        NoQuery,
        ImportOrder,
        ImportAnswer,
        errors=(503,),
    )
