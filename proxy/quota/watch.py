"""Tells operators about limits: gauges for each scrape, and a warning in time.

A warning is a log line and a count. It comes when use crosses a `warn_at` threshold, and when a
budget is used up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from proxy.core.limits.dimensions import OTHERS
from proxy.core.limits.language import show_amount
from proxy.core.limits.limit import PPM, describe
from proxy.core.limits.state import LimitState
from proxy.metrics.collector import Metrics
from proxy.quota import Breach, Crossing, Quota, QuotaUnavailable
from proxy.quota.status import states_in_turns

LOG = logging.getLogger("tollkeeper.limits")
INTERVAL_S: Final = 1.0


class Watched(Protocol):
    """The store that is watched, and the metrics that show it."""

    quota: Quota
    metrics: Metrics
    now_ms: Callable[[], int]


async def show_limits(parts: Watched) -> None:
    """Bring the gauges up to date, in turns: there may be tens of thousands of limits."""
    states: list[LimitState] = []
    try:
        async for some in states_in_turns(parts.quota, parts.quota.limits(), parts.now_ms()):
            states += some
    except QuotaUnavailable:
        states = []  # no samples rather than old ones
    parts.metrics.limits.show(states)


async def tell_limits(parts: Watched, crossed: Callable[[Sequence[Crossing]], None]) -> None:
    """Tell of every warning, until cancelled; `crossed` hears of the crossings too."""
    while True:
        await asyncio.sleep(INTERVAL_S)
        warnings = parts.quota.warnings(parts.now_ms())
        for told in warnings:
            tell(parts, told)
        if warnings:
            crossed([told for told in warnings if isinstance(told, Crossing)])


def tell(parts: Watched, told: Crossing | Breach) -> None:
    """Write one line to the log and add one count."""
    if isinstance(told, Breach):
        limit = told.limit
        bound, used = (
            show_amount(amount, limit.unit, limit.currency) for amount in (told.bound, told.used)
        )
        parts.metrics.limits.breach(limit, told.count)
        LOG.error(
            "%d requests used more of the strict limit %s than they could be bounded by; the last "
            "%s instead of %s: the vendor bills beyond its cap, or served a dearer model than was "
            "asked for",
            told.count,
            describe(limit),
            used,
            bound,
        )
        return
    state = told.state
    limit = state.limit
    parts.metrics.limits.crossing(limit, told.share_ppm)
    used = show_amount(state.used, limit.unit, limit.currency)
    whose = describe(limit)
    if limit.value == OTHERS:
        whose += ", for all values beyond quota.values_max together,"
    if told.share_ppm >= PPM and limit.windowed and state.used < state.amount + state.granted:
        LOG.warning("the limit %s had too little left for a request: %s used", whose, used)
    elif told.share_ppm >= PPM:
        LOG.warning("the limit %s is reached: %s used", whose, used)
    else:
        LOG.warning(
            "the limit %s is used to %s %%: %s", whose, f"{told.share_ppm / 10_000:g}", used
        )
