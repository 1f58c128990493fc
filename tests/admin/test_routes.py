"""Every route of the admin plane stands once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.admin.test_access import routes_of
from tests.support.running import config, running


async def test_each_route_stands_once(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        routes = routes_of(proxy)
        assert routes
        assert max(Counter((route.method, route.path) for route in routes).values()) == 1
