"""Pools outlive the config: an unchanged upstream keeps its connections over a reload, and a pool
that no config names closes after its last exchange."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from time import monotonic

import msgspec

from proxy.config.settings import TimeoutSettings, UpstreamSettings
from proxy.dataplane.upstream.pools import Pools
from proxy.dataplane.upstream.upstream import Upstream
from tests.support.raw import RawUpstream, Visit, raw_upstream


async def answering(visit: Visit) -> None:
    await visit.answer(b"{}")


def upstream_at(url: str, **changes: object) -> Upstream:
    """As each config makes it anew."""
    settings = msgspec.structs.replace(UpstreamSettings(base_url=url, api_key="k"), **changes)
    return Upstream("vendor", settings, TimeoutSettings())


@contextlib.asynccontextmanager
async def pools() -> AsyncIterator[tuple[Pools, RawUpstream]]:
    made = Pools()
    async with raw_upstream(answering) as vendor:
        try:
            yield made, vendor
        finally:
            await made.aclose()


async def test_an_unchanged_upstream_keeps_its_pool_over_a_reload() -> None:
    async with pools() as (made, vendor):
        before, after = upstream_at(vendor.url), upstream_at(vendor.url)
        made.use([before])
        pool = made.of(before)
        made.use([after])
        await made.sweep(monotonic())
        assert made.of(after) is made.of(before) is pool
        assert next(iter(made._pools)) is after, "found by identity, without comparing settings"


async def test_a_changed_upstream_gets_a_pool_of_its_own_and_the_old_one_ends_with_its_exchange() -> (
    None
):
    async with pools() as (made, vendor):
        old, new = upstream_at(vendor.url), upstream_at(vendor.url, api_key="k2")
        made.use([old])
        pool = made.of(old)
        connection = await pool.acquire()
        made.use([new])
        assert made.of(new) is not pool
        await made.sweep(monotonic())
        assert made.of(old) is pool, "an exchange runs on it"
        pool.release(connection)
        await made.sweep(monotonic())
        assert old not in made._pools and not connection.is_connected()
        assert made.of(old) is not pool


async def test_at_the_end_all_are_closed() -> None:
    async with pools() as (made, vendor):
        one = upstream_at(vendor.url)
        connection = await made.of(one).acquire()
        made.of(one).release(connection)
        await made.aclose()
        assert not connection.is_connected() and not made._pools


def test_upstreams_are_equal_where_nothing_of_them_changed() -> None:
    url = "https://vendor/v1"
    assert upstream_at(url) == upstream_at(url) and hash(upstream_at(url)) == hash(upstream_at(url))
    assert upstream_at(url) != upstream_at(url, api_key="k2")
    assert upstream_at(url) != Upstream(
        "other", UpstreamSettings(base_url=url, api_key="k"), TimeoutSettings()
    )
