"""Makes the terms of prices, and the price book, of a config and of the bundled table."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy.config.aliases import sent_names
from proxy.config.instants import instant_ms
from proxy.config.price_tables import Table
from proxy.config.settings import DatedShare, Price, Settings
from proxy.core.pricing.amounts import plain
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import DAY_MINUTES, RATES, PriceRow
from proxy.core.pricing.terms import DatedRate, Share, Terms, latest_first, shortest


def price_book_of(settings: Settings, table: Table | None = None) -> PriceBook:
    """A config's price book. `table` is for upstreams with a `price_source`."""
    return PriceBook(terms_of(settings, table))


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
        aliases=sent_names(settings),
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
