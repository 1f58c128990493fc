"""The real server in the test's own loop, on free ports, over a temporary data directory."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from proxy.config.loader import load
from proxy.core.fault_points import FaultPoint
from proxy.dataplane.counting.vocabulary import Vocabularies
from proxy.dataplane.upstream.pool import Pool
from proxy.server.failpoints import Failpoints
from proxy.server.lifecycle import Server
from tests.support.corpora import encoding
from tests.support.waiting import guard

KEY = "sk-test"


@dataclass
class Running:
    """A running proxy: its address, its server, and the records it has booked."""

    server: Server
    data_dir: Path

    @property
    def address(self) -> str:
        return self.server.addresses.data

    @property
    def base_url(self) -> str:
        return f"http://{self.address}/v1"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.server.addresses.metrics}/metrics"

    @property
    def pool(self) -> Pool:
        """The connections to the upstream `mock`."""
        return self.server.services.pools.of(self.server.snapshot.upstreams["mock"])

    def rows(self) -> list[dict[str, object]]:
        """What is booked now, oldest first."""
        return self.query("SELECT * FROM records ORDER BY seq")

    def query(self, statement: str) -> list[dict[str, object]]:
        """Rows of the ledger, read beside the running process."""
        with self._book() as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]

    async def records(self, count: int) -> list[dict[str, object]]:
        """Waits until `count` records are booked and no exchange is open; fails if there are ever
        more."""
        async with guard():
            with self._book() as connection:
                # Only counted: to read all rows at each look would take longer than to book them.
                booked = "SELECT count(*) FROM records"
                while (
                    self.server.open_exchanges or connection.execute(booked).fetchone()[0] < count
                ):
                    # Another thread books; the condition, not the pause, decides.
                    await asyncio.sleep(0.005)
        rows = self.rows()
        assert len(rows) == count, rows
        return rows

    def _book(self) -> contextlib.closing[sqlite3.Connection]:
        path = self.data_dir / "ledger.db"
        return contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True))


def config(upstream_url: str, **blocks: object) -> dict[str, object]:
    """A config with one upstream `mock`, one key `alice` of team `research`, fast drains; `blocks`
    replace or add top-level blocks."""
    return {
        "listen": "127.0.0.1:0",
        "metrics": {"listen": "127.0.0.1:0"},
        # Nothing here ends by the clock on a slow machine; tests of a limit in time set their own.
        "drain": {"delay": "0s", "timeout": "10m"},
        "timeouts": {"connect": "10m", "pool": "10m", "upstream_keepalive": "10m"},
        "journal": {"segment": "1MiB"},
        # what an oracle can compute from the bytes alone; tests of counting say `counted`
        "estimates": "bytes",
        "upstreams": {"mock": {"base_url": upstream_url, "api_key": "sk-upstream"}},
        "routes": [{"model": "*", "upstream": "mock"}],
        "teams": {"research": {"labels": {"cost_center": "4711"}}},
        "keys": {"alice": {"team": "research", "secret": KEY}},
        **blocks,
    }


def vocabularies() -> Vocabularies:
    """The shipped ones; each is half a second of work, done once a test process rather than once a
    server."""
    return Vocabularies(load=lambda _, vocabulary: encoding(vocabulary.name))


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    settings: dict[str, object],
    *,
    failpoints: str = "",
    fail: FaultPoint | None = None,
) -> AsyncIterator[Running]:
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    loaded = load(path, {})
    server = await Server.start(
        loaded,
        fail if fail is not None else Failpoints(failpoints),
        lambda: load(path, {}),
        vocabularies(),
    )
    try:
        yield Running(server, loaded.settings.data_dir)
        await server.drain()
    finally:
        await server.aclose()
