"""The terms of prices: all that makes an amount beside a record's own numbers.

A config says them (`terms_of`), and the ledger keeps them. Rates of exchange, discounts and
markups are steps: each holds from its moment on, until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy.core.pricing.amounts import scaled
from proxy.core.pricing.pricelist import PriceRow


class DatedRate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rate of exchange or a share, from a moment on (None: always)."""

    rate: str
    from_ms: int | None = None


Share = str | tuple[DatedRate, ...]  # a share that always holds, or its steps, the latest first


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that makes an amount.

    `timezone` is what dates in the config were read in; the rows hold moments. A share that is
    not named is 0. `requested_prices`: upstreams whose contract prices the model that was asked
    for, whichever one answers. `aliases`: the name that an upstream is sent, by upstream and by the
    name that callers use; it is the model that was asked for, to these prices.
    """

    currency: str
    timezone: str
    rows: tuple[PriceRow, ...]
    fx: dict[str, tuple[DatedRate, ...]]
    discounts: dict[str, Share]
    markups: dict[str, Share]
    requested_prices: tuple[str, ...] = ()
    aliases: dict[str, dict[str, str]] = {}


def steps(share: Share | None) -> tuple[DatedRate, ...]:
    """A share as steps, the latest first; none where it is not named."""
    if share is None:
        return ()
    return (DatedRate(share),) if isinstance(share, str) else share


def shortest(dated: Iterable[DatedRate]) -> Share | None:
    """A share in its only form: None for 0, a decimal if it always holds, else its steps."""
    kept = tuple(
        step for step in latest_first(dated) if step.from_ms is not None or scaled(step.rate)[0]
    )
    if not kept:
        return None
    return kept[0].rate if len(kept) == 1 and kept[0].from_ms is None else kept


def latest_first(dated: Iterable[DatedRate]) -> tuple[DatedRate, ...]:
    """Sorts steps by the moment from which they hold; a step that always holds comes last."""
    return tuple(
        sorted(
            dated,
            key=lambda step: (step.from_ms is None, 0 if step.from_ms is None else -step.from_ms),
        )
    )
