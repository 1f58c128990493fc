"""Every route of the admin plane, in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.admin.adjusting import adjust_route
from proxy.admin.archiving import archive_route
from proxy.admin.books import book_routes
from proxy.admin.endpoint import AdminEndpoint
from proxy.admin.erasure import erase_route
from proxy.admin.imports import import_route
from proxy.admin.limits import credit_route, credits_route, limit_route, limits_route
from proxy.admin.months import month_routes
from proxy.admin.openapi import with_document
from proxy.admin.prices import price_routes, rerate_route
from proxy.admin.process import process_route
from proxy.admin.reload import Reloading, reload_route
from proxy.admin.statements import statement_routes
from proxy.admin.sums import usage_route
from proxy.admin.tenants import Changing, audit_route, tenant_routes, verify_route
from proxy.admin.verifying import verify_book_routes
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot


def admin_routes(
    services: Services,
    snapshot: Callable[[], Snapshot],
    why_not_ready: Callable[[], str | None],
    change: Changing,
    reload: Reloading,
) -> Sequence[AdminEndpoint]:
    """All routes.

    snapshot · the config in effect    why_not_ready · what /readyz says
    change · carries out an order on keys and teams    reload · reads the config again
    """
    settings = snapshot().settings
    key_file = settings.data_dir / settings.ledger.key_file
    return with_document(
        (
            process_route(services, snapshot, why_not_ready),
            rerate_route(services, snapshot),
            adjust_route(services, snapshot),
            limits_route(services, snapshot),
            limit_route(services, snapshot),
            credit_route(services, snapshot),
            credits_route(services),
            *tenant_routes(services, change),
            import_route(services, change),
            audit_route(services),
            verify_route(services, key_file),
            usage_route(services, snapshot),
            *book_routes(services, snapshot),
            *verify_book_routes(services, key_file),
            erase_route(services),
            archive_route(services),
            *month_routes(services, snapshot, key_file),
            *statement_routes(services, snapshot, key_file),
            *price_routes(services, snapshot),
            reload_route(reload),
        )
    )
