"""The ledger under other terms: what the same requests would have cost. Nothing is written.

A record's amount is what was booked, and the scenario's amount is made from its tokens by its own
terms with the scenario's changes. A record that was corrected keeps the difference between what was
booked and what its terms say, so that a scenario that changes nothing comes to the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from operator import itemgetter
from typing import Final

import msgspec

from proxy.core.pricing.amounts import UNPRICED, Priced
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.scenario import Scenario
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.repricing import standing
from proxy.core.usage import Source, UsageRecord
from proxy.ledger.reading import Page, Reader, Row, Stretch

_BOOKS_MAX: Final = 256
_NAMES_MAX: Final = 65_536  # callers make names up
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}
_KIND, _ADJUSTS = _PLACE["kind"], _PLACE["adjusts"]


class PricedUse(msgspec.Struct, frozen=True, gc=False):
    """What of a row makes its price, in the order of `_TAKEN`."""

    id: str
    team: str | None
    upstream: str
    model_requested: str | None
    model_served: str | None
    service_tier: str | None
    started_at_ms: int
    status: int | None
    source: str
    reason: str | None
    price_version: str | None
    currency: str | None
    cost_nano: int | None
    charge_nano: int | None
    input_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    cache_write_long_tokens: int | None
    audio_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    audio_output_tokens: int | None
    searches: int | None


_TAKEN: Final = itemgetter(*(_PLACE[name] for name in PricedUse.__struct_fields__))


class WhatIfSum(msgspec.Struct):
    """One team, model and currency: as booked, and under the scenario, in nano-units.

    An amount is None while none is known. `unpriced` requests have no known amount as booked,
    `would_be_unpriced` have none under the scenario.
    """

    team: str | None
    model: str | None
    currency: str | None
    requests: int = 0
    cost_nano: int | None = None
    charge_nano: int | None = None
    would_cost_nano: int | None = None
    would_charge_nano: int | None = None
    unpriced: int = 0
    would_be_unpriced: int = 0


_Key = tuple[str | None, str | None, str | None]
_Names = tuple[str | None, str | None]


class WhatIf:
    """Prices a stretch of the ledger under a scenario.

    `upstreams` and `teams` narrow it, each if there are any; "" is no team.
    """

    def __init__(
        self,
        reader: Reader,
        scenario: Scenario,
        upstreams: Sequence[str] = (),
        teams: Sequence[str] = (),
    ) -> None:
        self._reader = reader
        self._scenario = scenario
        self._upstreams = frozenset(upstreams)
        self._teams = frozenset(teams)
        rows = reader.usage(["upstream"], None, None, UTC, sums=["requests"])
        self._known = sorted({str(row["upstream"]) for row in rows})
        self._books: dict[str | None, tuple[PriceBook, PriceBook] | None] = {}
        self._names: dict[_Names, _Names] = {}
        self._sums: dict[_Key, WhatIfSum] = {}

    def add(self, stretch: Stretch, advance: Callable[[int], None] | None = None) -> None:
        """Adds all requests of a stretch."""
        done = stretch.after
        for page in self._reader.pages(stretch, corrected=True):
            self._add_page(page)
            if advance is not None:
                advance(page.upto_seq - done)
            done = page.upto_seq

    def sums(self) -> list[WhatIfSum]:
        """The sums, by team, model and currency; a missing name first."""
        return [
            self._sums[key]
            for key in sorted(
                self._sums, key=lambda key: [(name is not None, name or "") for name in key]
            )
        ]

    def _add_page(self, page: Page) -> None:
        corrections: dict[str, list[Row]] = {}
        for row in page.corrections:
            corrections.setdefault(str(row[_ADJUSTS]), []).append(row)
        for row in page.rows:
            if row[_KIND] != "usage":
                continue
            use = PricedUse(*_TAKEN(row))
            if (self._upstreams and use.upstream not in self._upstreams) or (
                self._teams and (use.team or "") not in self._teams
            ):
                continue
            later = corrections.get(use.id)
            if later is None and (found := self._quickly(use)) is not None:
                self._count(use.team, use.model_requested, use, found.cost_nano, found)
            else:
                self._carefully(row, later or ())

    def _quickly(self, use: PricedUse) -> Priced | None:
        """What a record without corrections would cost; None: it needs a closer look."""
        books = self._books_of(use.price_version)
        if books is None or use.reason is not None:
            return None
        own, other = books
        if own.counts_images(use.upstream) or other.counts_images(use.upstream):
            return None
        status = None if use.source == Source.NONE.value else use.status
        booked = own.price(
            use,
            upstream=use.upstream,
            team=use.team,
            model_requested=use.model_requested,
            model_served=use.model_served,
            service_tier=use.service_tier,
            started_at_ms=use.started_at_ms,
            status=status,
        )
        if booked.cost_nano != use.cost_nano or booked.charge_nano != use.charge_nano:
            return None
        requested, served = self._named(use.model_requested, use.model_served)
        return other.price(
            use,
            upstream=use.upstream,
            team=use.team,
            model_requested=requested,
            model_served=served,
            service_tier=self._tier(use.service_tier),
            started_at_ms=use.started_at_ms,
            status=status,
        )

    def _carefully(self, row: Row, later: Iterable[Row]) -> None:
        """Prices a record that has corrections, images, a path's charge or no prices of its own."""
        booked = _record(row)
        corrections = [_record(each) for each in later]
        now = standing(booked, corrections)
        version = next(
            (each.price_version for each in (*reversed(corrections), booked) if each.price_version),
            None,
        )
        books = self._books_of(version)
        if books is None:
            # Its terms are not known: only what changes nothing is.
            same = Priced(charge_nano=now.charge_nano, currency=now.currency)
            kept = same if self._scenario == _NOTHING else UNPRICED
            cost = now.cost_nano if self._scenario == _NOTHING else None
            self._count(now.team, now.model_requested, now, cost, kept)
            return
        own, other = books
        images = self._images(booked, own)
        as_own = own.price_record(now, images)
        requested, served = self._named(now.model_requested, now.model_served)
        would = other.price_record(
            msgspec.structs.replace(
                now,
                model_requested=requested,
                model_served=served,
                service_tier=self._tier(now.service_tier),
            ),
            images,
        )
        self._count(
            now.team,
            now.model_requested,
            now,
            _moved(now.cost_nano, as_own.cost_nano, would.cost_nano),
            msgspec.structs.replace(
                would,
                charge_nano=_moved(now.charge_nano, as_own.charge_nano, would.charge_nano),
            ),
        )

    def _count(
        self,
        team: str | None,
        model: str | None,
        use: PricedUse | UsageRecord,
        cost_nano: int | None,
        would: Priced,
    ) -> None:
        currency = use.currency if would.currency is None else would.currency
        key = (team, model, currency)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = WhatIfSum(*key)
        sums.requests += 1
        if use.cost_nano is None:
            sums.unpriced += 1
        else:
            sums.cost_nano = use.cost_nano + (sums.cost_nano or 0)
        if use.charge_nano is not None:
            sums.charge_nano = use.charge_nano + (sums.charge_nano or 0)
        if cost_nano is None:
            sums.would_be_unpriced += 1
        else:
            sums.would_cost_nano = cost_nano + (sums.would_cost_nano or 0)
        if would.charge_nano is not None:
            sums.would_charge_nano = would.charge_nano + (sums.would_charge_nano or 0)

    def _books_of(self, version: str | None) -> tuple[PriceBook, PriceBook] | None:
        """The prices of a version, and those of the scenario in their place.

        Where no row applied, earlier programs named no version: other rows may price such a record
        with the latest exchange rates and markups, and nothing else does.
        """
        if version not in self._books:
            if len(self._books) >= _BOOKS_MAX:
                self._books.clear()
            self._books[version] = self._read(version)
        return self._books[version]

    def _read(self, version: str | None) -> tuple[PriceBook, PriceBook] | None:
        if version is not None:
            terms = self._reader.price_terms(version)
        else:
            rows = self._scenario.rows
            terms = None if rows is None else self._reader.price_terms_at(2**53)
        if terms is None:
            return None
        try:
            own = PriceBook.from_terms(terms)
        except msgspec.MsgspecError:
            return None  # of another version of this program
        return own, PriceBook(self._scenario.terms(own.content, self._known))

    def _images(self, booked: UsageRecord, own: PriceBook) -> int | None:
        return own.images_of(booked) if own.counts_images(booked.upstream) else None

    def _named(self, requested: str | None, served: str | None) -> _Names:
        if not self._scenario.models:
            return requested, served
        asked = (requested, served)
        found = self._names.get(asked)
        if found is None:
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            found = self._names[asked] = self._scenario.names(requested, served)
        return found

    def _tier(self, own: str | None) -> str | None:
        tier = self._scenario.tier
        return own if tier is None else tier or None


_NOTHING: Final = Scenario()


def _moved(booked: int | None, own: int | None, would: int | None) -> int | None:
    """What was booked, moved by what the scenario makes of the record's own price."""
    if would is None:
        return booked if own is None and booked is not None else None
    return would if booked is None or own is None else booked + would - own


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))


def whole(reader: Reader, from_ms: int | None, to_ms: int | None) -> Stretch:
    """The stretch of all requests that started in [from_ms, to_ms)."""
    return reader.narrowed(Stretch(through=reader.head(), from_ms=from_ms, to_ms=to_ms))


def totals(sums: Iterable[WhatIfSum]) -> Iterator[WhatIfSum]:
    """One sum for each currency, sorted by it."""
    found: dict[str | None, WhatIfSum] = {}
    for each in sums:
        total = found.setdefault(each.currency, WhatIfSum(None, None, each.currency))
        for name in ("requests", "unpriced", "would_be_unpriced"):
            setattr(total, name, getattr(total, name) + getattr(each, name))
        for name in ("cost_nano", "charge_nano", "would_cost_nano", "would_charge_nano"):
            known = [
                nano for nano in (getattr(total, name), getattr(each, name)) if nano is not None
            ]
            setattr(total, name, sum(known) if known else None)
    for currency in sorted(found, key=lambda name: (name is not None, name or "")):
        yield found[currency]
