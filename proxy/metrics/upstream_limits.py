"""How much each upstream last said that we may still use.

It is read from fields of its answers, which its dialect names.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from proxy.core.dialects.contract import RemainingFields
from proxy.core.http.headers import RawHeaders, index
from proxy.metrics.families import Families

DIGITS_MAX = 15  # what a float holds exactly
STALE_S = 300.0  # vendors' periods are minutes; after that the number says nothing any more


class UpstreamLimits:
    """One number for each upstream and unit; upstreams come from the configuration."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._remaining: dict[tuple[str, str], tuple[int, float]] = {}

    def seen(self, upstream: str, headers: RawHeaders, fields: RemainingFields) -> None:
        """Read an answer's head. A value that is no plain number is ignored."""
        named = index(headers)
        for name, unit in fields:
            if name not in named:
                continue
            for value in named[name]:
                if value.isdigit() and len(value) <= DIGITS_MAX:
                    self._remaining[upstream, unit] = int(value), self._now_s()

    def collect(self, families: Families) -> None:
        """Add the samples; runs in the scrape's thread."""
        since_s = self._now_s() - STALE_S
        for labels, (remaining, seen_s) in self._remaining.copy().items():
            if seen_s >= since_s:
                families.add("upstream_ratelimit_remaining", labels, remaining)
