"""The prices of a config here are those that a process tells; see also test_remote_reader."""

from __future__ import annotations

from pathlib import Path

from proxy.cli.catalogue import in_effect
from tests.admin.test_tenants import desk
from tests.dataplane.test_hold import PRICES


async def test_the_catalogue_of_a_config(tmp_path: Path) -> None:
    async with desk(tmp_path, prices=PRICES, timezone="Asia/Shanghai") as admin:
        found = in_effect(tmp_path / "config.yaml")
        assert found.book.version == admin.proxy.server.snapshot.prices.version
        assert (str(found.zone), list(found.routes)) == ("Asia/Shanghai", [("*", "mock")])
        assert (list(found.upstreams), list(found.teams)) == (["mock"], ["research"])
