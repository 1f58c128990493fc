"""Every route of the admin plane, in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.admin.app import Route
from proxy.admin.limits import credit_route, limits_route
from proxy.admin.prices import rerate_route
from proxy.admin.process import process_route
from proxy.dataplane.services import Parts
from proxy.dataplane.snapshot import Site
from proxy.ledger.sqlite.queries import Queries


def admin_routes(parts: Parts, site: Callable[[], Site], why_not_ready: Callable[[], str | None]) -> Sequence[Route]:
    """`site` is the config in effect, `why_not_ready` what /readyz says."""
    settings = site().settings
    queries = Queries(settings.ledger.url, settings.data_dir)
    return (process_route(parts, site, why_not_ready), rerate_route(parts, site, queries), limits_route(parts, site), credit_route(parts, site))
