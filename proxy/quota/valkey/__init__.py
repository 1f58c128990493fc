"""The quota in Valkey or Redis, shared by many processes: limits hold over all of them together.

- address: where the server is, and how to sign in.
- pipeline: one connection.
- link: connects again, signs in, and sends the script.
- calls: calls of the script, and the ends of requests, which are sent until they are answered.
- epochs: which building of the counts is valid.
- building: building them anew from the book.
- joining: what each process hands in then, and whether all have.
- lines, readings, reservation, past, telling: limits, counts and holds as the script has them.
- ends: what is told of requests that are over, and of corrections.
- requests: what a hold says of its request.
- left: what another process holds, ended for it.
- presence: which processes live, and the slots of those that do not.
- store: the quota itself.
- script.lua: what the server runs: each call is one step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import tzinfo
from importlib.resources import files

from proxy.quota import VALUES_MAX, QuotaError, SharedOptions
from proxy.quota.memory import MemoryQuota
from proxy.quota.valkey.address import address
from proxy.quota.valkey.away import Away
from proxy.quota.valkey.building import Builder
from proxy.quota.valkey.calls import Calls
from proxy.quota.valkey.epochs import Epochs
from proxy.quota.valkey.joining import Joining
from proxy.quota.valkey.left import ValkeyLeftHolds
from proxy.quota.valkey.link import Link
from proxy.quota.valkey.store import SharedQuota

BUILDING_S = 5.0  # for one call while the counts are built


async def connect(
    url: str,
    zone: tzinfo,
    *,
    monotonic_ms: Callable[[], int],
    options: SharedOptions,
    values_max: int = VALUES_MAX,
) -> SharedQuota:
    """The store at a URL. A server that is away is waited for in the background.

    Raises QuotaError where waiting cannot help.
    """
    link = await _link(url, f"tollkeeper-{options.instance}")
    calls = Calls(link, options.instance, options.timeout_s)
    joining = Joining(calls, options.journal or options.instance, options.position)
    builder = Builder(link, Calls(link, options.instance, BUILDING_S))
    epochs = Epochs(link, calls, builder, joining)
    away = Away(MemoryQuota(zone, monotonic_ms, values_max=values_max), options)
    quota = SharedQuota(zone, link, calls, epochs, joining, away, values_max=values_max)
    await link.open(epochs)
    quota.presence.begin()
    return quota


async def connect_left(url: str, instance: str, timeout_s: float) -> ValkeyLeftHolds:
    """See `proxy.quota.left.connect_left`."""
    link = await _link(url, f"tollkeeper-left-{instance}")
    left = ValkeyLeftHolds(link, Calls(link, instance, timeout_s), timeout_s)
    await link.open(left)
    return left


async def _link(url: str, name: str) -> Link:
    try:
        found = address(url)
    except ValueError as error:
        raise QuotaError(f"quota.url: {error}") from error
    return Link(found, await asyncio.to_thread(script), name)


def script() -> str:
    """What the server runs. Blocks."""
    return files("proxy.quota.valkey").joinpath("script.lua").read_text("utf-8")
