"""Every route of the admin plane stands once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from proxy.admin.routes import admin_routes
from proxy.admin.tenants import Order
from proxy.core.managed import Carried
from tests.support.running import config, running


async def unchanged(order: Order, *, cut: bool = False) -> Carried:
    raise AssertionError("nothing is asked here")


async def test_each_route_stands_once(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        server = proxy.server
        routes = admin_routes(server.services, lambda: server.snapshot, lambda: None, unchanged)
        assert routes
        assert max(Counter((route.method, route.path) for route in routes).values()) == 1
