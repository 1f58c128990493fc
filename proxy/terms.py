"""The terms of prices: all that makes an amount beside a record's own numbers.

A config says them (`terms_of`), and the ledger keeps them. Rates of exchange, discounts and
markups are steps: each holds from its moment on, until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy.config_values import instant_ms
from proxy.core.pricelist import DAY_MINUTES, RATES, PriceRow
from proxy.core.pricing import plain, scaled
from proxy.pricetables import Table
from proxy.settings import DatedShare, Price, Settings


class DatedRate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rate of exchange or a share, from a moment on (None: always)."""

    rate: str
    from_ms: int | None = None


Share = str | tuple[DatedRate, ...]  # a share that always holds, or its steps, the latest first


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that makes an amount.

    `timezone` is what dates in the config were read in; the rows hold moments. A share that is
    not named is 0. `requested_prices`: upstreams whose contract prices the model that was asked for,
    whichever one answers.
    """

    currency: str
    timezone: str
    rows: tuple[PriceRow, ...]
    fx: dict[str, tuple[DatedRate, ...]]
    discounts: dict[str, Share]
    markups: dict[str, Share]
    requested_prices: tuple[str, ...] = ()


def terms_of(settings: Settings, table: Table | None = None) -> Terms:
    """What a config and the bundled table say, without what makes no amount."""
    rows = [row_of(price, settings) for price in settings.prices]
    for name, upstream in settings.upstreams.items():
        if upstream.price_source and table is not None:
            rows += table.rows(upstream.price_source, name)
    return Terms(
        currency=settings.currency,
        timezone=settings.timezone,
        rows=tuple(rows),
        fx={
            currency: latest_first(
                DatedRate(plain(rate.rate), _moment(rate.from_, settings)) for rate in rates
            )
            for currency, rates in settings.fx.items()
        },
        discounts=_shares(
            ((name, upstream.discount) for name, upstream in settings.upstreams.items()), settings
        ),
        markups=_shares(((name, team.markup) for name, team in settings.teams.items()), settings),
        requested_prices=tuple(
            sorted(
                name
                for name, upstream in settings.upstreams.items()
                if upstream.served_price == "requested"
            )
        ),
    )


def steps(share: Share | None) -> tuple[DatedRate, ...]:
    """A share as steps, the latest first; none where it is not named."""
    if share is None:
        return ()
    return (DatedRate(share),) if isinstance(share, str) else share


def shortest(dated: Iterable[DatedRate]) -> Share | None:
    """The one way to write a share down: nothing for 0, a decimal for one that always holds."""
    kept = tuple(
        step for step in latest_first(dated) if step.from_ms is not None or scaled(step.rate)[0]
    )
    if not kept:
        return None
    return kept[0].rate if len(kept) == 1 and kept[0].from_ms is None else kept


def latest_first(dated: Iterable[DatedRate]) -> tuple[DatedRate, ...]:
    """By the moment from which they hold; what always holds is the last."""
    return tuple(
        sorted(
            dated,
            key=lambda step: (step.from_ms is None, 0 if step.from_ms is None else -step.from_ms),
        )
    )


def row_of(price: Price, settings: Settings) -> PriceRow:
    """A row of the config as the book has it."""
    row = PriceRow(
        model=price.model,
        upstream=price.upstream,
        currency=settings.currency if price.currency is None else price.currency,
        service_tier=price.service_tier,
        above_input_tokens=price.above_input_tokens,
        hours_utc=None if price.hours_utc is None else minutes_of(price.hours_utc),
        from_ms=_moment(price.from_, settings),
    )
    return msgspec.structs.replace(
        row, **{name: plain(rate) for name in RATES if (rate := getattr(price, name)) is not None}
    )


def minutes_of(hours: str) -> tuple[int, int]:
    """(990, 30) of "16:30-00:30": minutes of the day, midnight as an end being 0."""
    start, end = (60 * int(time[:2]) + int(time[3:]) for time in hours.split("-"))
    return start, end % DAY_MINUTES


def _shares(
    named: Iterable[tuple[str, str | tuple[DatedShare, ...]]], settings: Settings
) -> dict[str, Share]:
    found = {}
    for name, said in named:
        rows = (DatedShare(rate=said),) if isinstance(said, str) else said
        share = shortest(DatedRate(plain(row.rate), _moment(row.from_, settings)) for row in rows)
        if share is not None:
            found[name] = share
    return found


def _moment(day: str | None, settings: Settings) -> int | None:
    return None if day is None else instant_ms(day, settings.timezone)
