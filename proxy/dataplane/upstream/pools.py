"""The connections to all upstreams, by upstream. They outlive a config."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.dataplane.upstream.pool import Pool
from proxy.dataplane.upstream.upstream import Upstream


def pool_of(upstream: Upstream) -> Pool:
    """An empty pool for this upstream."""
    settings, timeouts = upstream.settings, upstream.timeouts
    return Pool(
        settings.base_url,
        connections_max=settings.connections_max,
        connect_s=timeouts.connect_s,
        pool_s=timeouts.pool_s,
        keepalive_s=timeouts.upstream_keepalive_s,
        context=upstream.tls,
        proxy=settings.proxy or None,
    )


class Pools:
    """Lives on the event loop. Equal upstreams of two configs share one pool.

    A pool whose upstream is no longer in use closes once its last exchange has ended.
    """

    def __init__(self) -> None:
        self._in_use: dict[Upstream, Upstream] = {}
        self._pools: dict[Upstream, Pool] = {}

    def use(self, upstreams: Iterable[Upstream]) -> None:
        """Sets the upstreams of the config in effect."""
        self._in_use = {upstream: upstream for upstream in upstreams}
        # Under the new objects: a look-up that finds the very object need not compare settings.
        self._pools = {
            self._in_use.get(upstream, upstream): pool for upstream, pool in self._pools.items()
        }

    def of(self, upstream: Upstream) -> Pool:
        """The pool of an upstream, made at its first use."""
        pool = self._pools.get(upstream)
        if pool is None:
            pool = self._pools[upstream] = pool_of(upstream)
        return pool

    async def sweep(self, now_s: float) -> None:
        """Closes connections that are idle too long, and pools that no config uses.

        Called once a second.
        """
        for upstream, pool in list(self._pools.items()):
            pool.sweep(now_s)
            if upstream not in self._in_use and not pool.in_use:
                del self._pools[upstream]
                await pool.aclose()

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()
