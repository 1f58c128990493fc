"""Prices, as pages: the rows in effect or of a version, and where each is from."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec

from proxy.accounting.price_findings import (
    IN_USE_DAYS,
    PriceFinding,
    disagreeing,
    old_table,
    unpriced,
    used_by,
)
from proxy.admin.endpoint import read
from proxy.admin.pages.book_views import BookViews
from proxy.admin.pages.chosen_records import ChosenRecords
from proxy.admin.pages.look import PageLook, ShownPage, link
from proxy.config.prices import table_of
from proxy.core.calendar import Per, window
from proxy.core.errors import ProxyError
from proxy.core.pricing.explanation import day, hours, name_of
from proxy.core.pricing.pricelist import RATES, PriceRow
from proxy.core.pricing.terms import Share, Terms, steps
from proxy.dataplane.services import Services

ROWS_MAX: Final = 100
DAY_MS: Final = 86_400_000


class PricesAsked(msgspec.Struct, frozen=True):
    """Rows with a part of a model's name, of one upstream, behind so many; or one row by its place.

    `row` is the place in the terms of a version.
    """

    search: str | None = None
    upstream: str | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    row: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None


class PriceViews:
    """Pages of the prices in effect, and of those that records were priced by."""

    def __init__(self, services: Services, book: BookViews) -> None:
        self._reader = services.reader
        self._book = book

    async def prices(self, look: PageLook) -> ShownPage:
        """The rows of the prices in effect, or of the version in the address."""
        asked, now = look.asked(PricesAsked), look.snapshot.prices
        version = look.rest or now.version
        terms = now.content if version == now.version else await self._kept(version)
        rows = [
            (place, row) for place, row in enumerate(terms.rows) if _is_asked(asked, place, row)
        ]
        page = f"/ui/prices/{quote(version, safe='')}"
        shown = rows[asked.after : asked.after + ROWS_MAX]
        said = {"search": asked.search, "upstream": asked.upstream}
        behind = asked.after + ROWS_MAX
        zone = look.snapshot.zone
        found = [] if version != now.version else await self._findings(look)
        return ShownPage(
            "prices",
            {
                "asked": asked,
                "version": version,
                "in_effect": version == now.version,
                "currency": terms.currency,
                "rows": [_shown(place, row, page, zone) for place, row in shown],
                "count": len(rows),
                "more": link(page, **said, after=behind) if len(rows) > behind else None,
                "page": page,
                "all": link(page),
                "sources": _sources(terms),
                "findings": [one.text for one in found],
                "beside": list(_beside(terms, zone)),
            },
        )

    async def _findings(self, look: PageLook) -> list[PriceFinding]:
        """What `price check` tells of the models that were used lately."""
        settings, now_ms = look.snapshot.settings, look.now_ms
        today_ms = window(Per.DAY, now_ms, look.snapshot.zone).start_ms
        lately = ChosenRecords(today_ms - IN_USE_DAYS * DAY_MS, None, {}, {})
        used = used_by(await self._book.rows(look, ("upstream", "model"), lately))

        def found() -> list[PriceFinding]:
            table = table_of(settings)
            return [
                *unpriced(settings, table, used, IN_USE_DAYS),
                *disagreeing(settings, table, (), used, now_ms, False),
                *old_table(settings, table, now_ms),
            ]

        return await asyncio.to_thread(found)

    async def _kept(self, version: str) -> Terms:
        found = await read(lambda: self._reader.price_terms(version))
        if found is None:
            message = f"The ledger has no prices of version {version[:80]!r}."
            raise ProxyError(404, "invalid_request_error", "price_version_not_found", message)
        return msgspec.json.decode(found, type=Terms)


def _is_asked(asked: PricesAsked, place: int, row: PriceRow) -> bool:
    if asked.row is not None:
        return place == asked.row
    part = (asked.search or "").strip().casefold()
    return part in row.model.casefold() and asked.upstream in (None, row.upstream)


def _shown(place: int, row: PriceRow, page: str, zone: Any) -> dict[str, object]:
    """A row as the table shows it, and all that it says."""
    return {
        "place": place,
        "row": row,
        "name": name_of(row, zone),
        "page": link(page, row=place),
        "rates": [(name, rate) for name, rate in row.rates().items() if name in RATES],
        "from": None if row.from_ms is None else day(row.from_ms, zone),
        "hours": None if row.hours_utc is None else hours(row.hours_utc),
    }


def _sources(terms: Terms) -> list[tuple[str, int]]:
    """Where the rows are from, and how many each source gives."""
    counts: dict[str, int] = {}
    for row in terms.rows:
        counts[row.source] = counts.get(row.source, 0) + 1
    return sorted(counts.items(), key=lambda one: -one[1])


def _beside(terms: Terms, zone: Any) -> Any:
    """What changes amounts beside the rows: rates of exchange, discounts and markups."""
    for what, shares in (("exchange rate", terms.fx), ("discount", terms.discounts)):
        for name, share in shares.items():
            yield what, name, _share(share, zone)
    for name, share in terms.markups.items():
        yield "markup", name, _share(share, zone)


def _share(share: Share | Any, zone: Any) -> str:
    return "; ".join(
        step.rate if step.from_ms is None else f"{step.rate} from {day(step.from_ms, zone)}"
        for step in steps(share)
    )
