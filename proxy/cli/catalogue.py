"""The prices in effect: of the process that the environment names, or of the config here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from proxy.cli import admin_client, common
from proxy.cli.lazy import later
from proxy.config.price_terms import price_book_of
from proxy.config.prices import table_of
from proxy.core.pricing.book import PriceBook

if TYPE_CHECKING:
    from proxy.admin import prices
else:
    prices = later("proxy.admin.prices")


class Catalogue(msgspec.Struct, frozen=True):
    """A price book, and what else decides which price applies.

    `routes` are (models, upstream); the first one that matches wins.
    """

    book: PriceBook
    zone: ZoneInfo
    routes: Sequence[tuple[str, str]]
    upstreams: Collection[str]
    teams: Collection[str]


def in_effect(config_path: Path | None) -> Catalogue:
    """What is in effect there or here. Raises Failed."""
    if (process := admin_client.elsewhere()) is not None:
        told = admin_client.ask(process, "GET", prices.PRICES_PATH, type=prices.Prices)
        routes = [(route.model, route.upstream) for route in told.routes]
        return Catalogue(
            PriceBook(told.terms), ZoneInfo(told.timezone), routes, told.upstreams, told.teams
        )
    settings = common.load_here(config_path).settings
    return Catalogue(
        price_book_of(settings, table_of(settings)),
        ZoneInfo(settings.timezone),
        [(route.model, route.upstream) for route in settings.routes],
        settings.upstreams,
        settings.teams,
    )
