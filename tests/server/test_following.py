"""What is served while nothing is heard of a shared ledger."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.managed import Managed, State, TenantKind
from proxy.server.following import of_the_config
from proxy.tenants.directory import Directory
from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_instances import becomes, place
from tests.scenarios.test_postgresql_ledger import answer, asked, tollkeeper
from tests.support.postgres import PostgresServer, programs
from tests.support.process import proxy_process
from tests.support.raw import raw_upstream

SECRET = "sk-alice-9b1c"
ANOTHER = "sk-alice-7f20"


def test_the_config_alone_keeps_what_is_known_of_its_keys() -> None:
    config = Settings(teams={"research": TeamSettings()}, keys={"alice": KeySettings()})
    rows = [
        Managed(kind=TenantKind.KEY, name="alice", file=True, state=State.SUSPENDED),
        Managed(kind=TenantKind.KEY, name="bob"),
    ]
    found = of_the_config(Directory(config, rows))
    assert found.state(TenantKind.KEY, "alice") is State.SUSPENDED
    assert set(found.settings.keys) == {"alice"}


@pytest.mark.whole  # a server and a process of its own
async def test_keys_made_at_run_time_are_served_only_so_long(tmp_path: Path) -> None:
    server = PostgresServer(programs())
    blocks = {
        "ledger": {"url": server.database()},
        "prices": PRICES,
        "admin": {"stale_max": "100ms"},
        "teams": {"research": {}},
        "keys": {"alice": {"team": "research", "secret": SECRET}},
    }
    one = place(tmp_path, "one")
    try:
        async with raw_upstream(answer) as upstream:
            with proxy_process(one, upstream.url, instance="one", **blocks) as proxy:
                made = json.loads(tollkeeper(one, "key", "create", "bob", "--json"))
                key = made["keys"][0]["secret"]
                assert await asked(proxy, key) == 200
                server.kill()
                await becomes(proxy, key, 503)
                assert await asked(proxy, SECRET) == 200
                # A reload meanwhile does not bring them back.
                path = one / "config.yaml"
                path.write_text(path.read_text().replace(SECRET, ANOTHER))
                proxy.signal(signal.SIGHUP)
                await becomes(proxy, ANOTHER, 200)
                await becomes(proxy, key, 503)
            # Nor does a start: the silence counts from when the ledger was last heard.
            with proxy_process(one, upstream.url, instance="one", **blocks) as proxy:
                assert await asked(proxy, key) == 503
                assert await asked(proxy, SECRET) == 200
                server.start()
                await becomes(proxy, key, 200)
    finally:
        server.remove()
