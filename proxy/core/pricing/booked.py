"""Chooses the terms by which a booked record is priced anew: those of now, or its own.

Its own terms are those of its last pricing, which the ledger keeps. What the config says of now
must not change the past:

    discount, markup, fx   a step of now that has a date and holds at the record's time;
                           else its own, also those of a team or vendor that left
    served_price, aliases  its own: they have no date
    the operator's rows    a row of now; but a row that was taken out goes on for what it priced
    bundled rows           its own; a newer table adds prices and dated changes of them

So an edited price row corrects the past, as does a dated share, and all else stays as booked.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.core.pricing.amounts import Priced
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import DatedRate, Share, Terms, latest_first, shortest, steps
from proxy.core.usage import UsageRecord


class Kept(enum.StrEnum):
    """Why a record keeps its price, although today's terms alone would come to another one."""

    REMOVED_ROW = "removed_row"  # the row that priced it was taken out of the config
    EARLIER_TABLE = "earlier_table"  # a newer bundled table says something else, without a date
    EARLIER_TERMS = "earlier_terms"  # discount, markup or rate of exchange differ, without a date


class BookedPrices:
    """Prices booked records anew by `now`.

    `stored` finds the terms of a version, `stored_at` those of a time.
    """

    def __init__(
        self,
        now: PriceBook,
        stored: Callable[[str], bytes | None],
        stored_at: Callable[[int], bytes | None],
    ) -> None:
        self._now = now
        self._stored = stored
        self._stored_at = stored_at
        self._books: dict[str, PriceBook | None] = {}
        self._pairs: dict[str, _KeptPair] = {}
        self._used: dict[str, PriceBook] = {}

    def price(
        self, booked: UsageRecord, corrections: Sequence[UsageRecord], standing: UsageRecord
    ) -> tuple[Priced, Kept | None]:
        """What `standing`, the record with its corrections, comes to by the terms chosen.

        If that is not what `now` alone would say, it also says why.
        """
        images = self._images(booked)
        new = self._by(self._now, standing, images)
        own = self._own(booked, corrections)
        if own is None:
            return new, None
        pair = self._pairs.get(own.version)
        if pair is None:
            pair = self._pairs[own.version] = _KeptPair(self._now, own)
        kept = _kept(pair, standing)
        found = self._by(pair.own if kept else pair.now, standing, images)
        if kept and found.cost_nano is None:
            kept, found = None, self._by(pair.now, standing, images)
        differs = new.cost_nano is not None and (new.cost_nano, new.charge_nano) != (
            found.cost_nano,
            found.charge_nano,
        )
        return found, (kept or Kept.EARLIER_TERMS) if differs else None

    def terms_of(self, version: str) -> bytes | None:
        """The terms of a version that `price` answered with."""
        book = self._used.get(version)
        return None if book is None else book.terms()

    def _by(self, book: PriceBook, record: UsageRecord, images: int | None) -> Priced:
        self._used[book.version] = book
        return book.price_record(record, images)

    def _own(self, booked: UsageRecord, corrections: Sequence[UsageRecord]) -> PriceBook | None:
        versions = [record.price_version for record in (*reversed(corrections), booked)]
        for version in versions:
            book = None if version is None else self._book_of(version)
            if book is not None:
                return book
        if any(version is not None for version in versions):
            return None
        # Earlier programs named no version where no row applied.
        terms = self._stored_at(booked.started_at_ms)
        return None if terms is None else _read(terms)

    def _images(self, booked: UsageRecord) -> int | None:
        """How many images were priced: no column says it, but the amount and its prices do."""
        book = None if booked.price_version is None else self._book_of(booked.price_version)
        return (
            None
            if book is None or not book.counts_images(booked.upstream)
            else book.images_of(booked)
        )

    def _book_of(self, version: str) -> PriceBook | None:
        if version not in self._books:
            terms = self._stored(version)
            self._books[version] = None if terms is None else _read(terms)
        return self._books[version]


class _KeptPair:
    """The rows of now and a record's own, each with the shares and exchange of its time."""

    def __init__(self, now: PriceBook, own: PriceBook) -> None:
        said, earlier = now.content, own.content
        self.now = _book(said, said.rows, earlier, now)
        self.own = _book(said, earlier.rows, earlier, own)
        self.own_keys = {_key(row) for row in earlier.rows}


def _book(now: Terms, rows: tuple[PriceRow, ...], own: Terms, like: PriceBook) -> PriceBook:
    fx = _exchange(now.fx, own.fx) if now.currency == own.currency else now.fx
    terms = Terms(
        currency=now.currency,
        timezone=now.timezone,
        rows=rows,
        fx=fx,
        discounts=_shares(now.discounts, own.discounts),
        markups=_shares(now.markups, own.markups),
        requested_prices=own.requested_prices,
        aliases=own.aliases,
    )
    return like if terms == like.content else PriceBook(terms)


def _shares(now: Mapping[str, Share], own: Mapping[str, Share]) -> dict[str, Share]:
    merged = {
        name: shortest(_merged(steps(now.get(name)), steps(own.get(name))))
        for name in sorted({*now, *own})
    }
    return {name: share for name, share in merged.items() if share is not None}


def _exchange(
    now: Mapping[str, tuple[DatedRate, ...]], own: Mapping[str, tuple[DatedRate, ...]]
) -> dict[str, tuple[DatedRate, ...]]:
    found = {}
    for currency in sorted({*now, *own}):
        merged = _merged(now.get(currency, ()), own.get(currency, ()))
        if all(step.from_ms is not None for step in merged):
            # A rate that came late holds where there was none.
            merged += [step for step in now.get(currency, ()) if step.from_ms is None]
        found[currency] = latest_first(merged)
    return found


def _merged(now: Sequence[DatedRate], own: Sequence[DatedRate]) -> list[DatedRate]:
    """Today's steps from the first dated one on, and before it the steps in force then."""
    dated = [(step, step.from_ms) for step in now if step.from_ms is not None]
    first_ms = min((from_ms for _, from_ms in dated), default=None)
    before = [
        step for step in own if step.from_ms is None or first_ms is None or step.from_ms < first_ms
    ]
    return [*(step for step, _ in dated), *before]


def _kept(pair: _KeptPair, record: UsageRecord) -> Kept | None:
    """Why the record's own row goes on; None if the row of now applies, or none did."""
    own_rows = pair.own.applying(record)
    now_row = next(iter(pair.now.applying(record)), None)
    own_row = own_rows[0] if own_rows else None
    if own_row is None or not own_row.rates():
        return None
    if now_row is None or not now_row.rates():
        return Kept.REMOVED_ROW
    if own_row.rank and now_row.rank:
        dated = now_row.from_ms is not None and _key(now_row) not in pair.own_keys
        return None if dated or _same(own_row, now_row) else Kept.EARLIER_TABLE
    if now_row.rank:
        return Kept.REMOVED_ROW
    return Kept.REMOVED_ROW if _passed_over(now_row, own_rows) else None


def _passed_over(row: PriceRow, own_rows: Sequence[PriceRow]) -> bool:
    """Whether the record's own terms had this row and a better one, which is gone now."""
    families = [_family(own_row) for own_row in own_rows]
    return _family(row) in families and _family(row) != families[0]


def _family(row: PriceRow) -> tuple[object, ...]:
    """What a row is for. Rows of one family follow each other in time."""
    return (
        row.rank,
        row.model,
        row.upstream,
        row.service_tier,
        row.above_input_tokens,
        row.hours_utc,
    )


def _key(row: PriceRow) -> tuple[object, ...]:
    return *_family(row), row.from_ms


def _same(one: PriceRow, other: PriceRow) -> bool:
    return msgspec.structs.replace(one, source=other.source) == other


def _read(terms: bytes) -> PriceBook | None:
    try:
        return PriceBook.from_terms(terms)
    except msgspec.MsgspecError:
        return None  # of another version of this program: what it said is not known
