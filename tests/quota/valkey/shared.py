"""The shared store with a clock that a test moves: the script is the product's but for one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from proxy.quota import VALUES_MAX, Book, Quota, SharedOptions
from proxy.quota.memory import MemoryQuota
from proxy.quota.valkey import BUILDING_S, script
from proxy.quota.valkey.address import address
from proxy.quota.valkey.away import Away
from proxy.quota.valkey.building import Builder
from proxy.quota.valkey.calls import Calls
from proxy.quota.valkey.epochs import Epochs
from proxy.quota.valkey.joining import Joining
from proxy.quota.valkey.link import Link
from proxy.quota.valkey.pipeline import command
from proxy.quota.valkey.store import SharedQuota
from tests.quota.stores import Clock
from tests.support.valkey import ValkeyServer

CLOCK_KEY = "{tk}:clock"


def scripted() -> str:
    """The product's script, with the server's time in a key."""
    lines = script().splitlines()
    [place] = [number for number, line in enumerate(lines) if line.endswith("--CLOCK")]
    lines[place] = f"local now = tonumber(call('GET', '{CLOCK_KEY}'))"
    return "\n".join(lines)


class ClockedLink(Link):
    """Tells the server the time of the test's clock before each call."""

    clock: Callable[[], int]

    def run(self, head: bytes, tail: bytes, answered: Callable[[Any], None]) -> None:
        if self.peer is not None:
            now = str(self.clock()).encode()
            self.peer.connection.ask(command(b"SET", CLOCK_KEY.encode(), now), lambda answer: None)
        super().run(head, tail, answered)


async def shared_quota(
    server: ValkeyServer,
    zone: ZoneInfo,
    clock: Clock,
    *,
    options: SharedOptions | None = None,
    values_max: int = VALUES_MAX,
) -> SharedQuota:
    """A process' part of the store on this server."""
    used = options or SharedOptions(timeout_s=30.0)
    link = ClockedLink(address(server.url), scripted(), "test")
    link.clock = clock
    calls = Calls(link, used.instance, used.timeout_s)
    joining = Joining(calls, used.instance, used.position)
    epochs = Epochs(link, calls, Builder(link, Calls(link, used.instance, BUILDING_S)), joining)
    away = Away(MemoryQuota(zone, clock), used)
    quota = SharedQuota(zone, link, calls, epochs, joining, away, values_max=values_max)
    await link.open(epochs)
    return quota


async def built(quota: SharedQuota, now_ms: int) -> None:
    """Have whole counts of nothing."""

    async def book() -> Book:
        return Book(past=(), credits=(), since_ms=now_ms, now_ms=now_ms, positions={}, live=())

    assert await quota.rebuild(book)
    await quota.whole()


class InValkey:
    """The shared store, emptied and built anew for each `open`."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._last: SharedQuota | None = None

    async def open(self, zone: ZoneInfo, clock: Clock) -> Quota:
        await self.aclose()
        self._server.ask("FLUSHALL")
        self._last = await shared_quota(self._server, zone, clock)
        await built(self._last, clock.now_ms)
        return self._last

    async def aclose(self) -> None:
        if self._last is not None:
            await self._last.aclose()
            self._last = None
