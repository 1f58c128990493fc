"""The ledger under other terms: what the same requests would have cost. Nothing is written.

A record's amount is what was booked, and the scenario's amount is made from its tokens by its own
terms with the scenario's changes. A record that was corrected keeps the difference between what was
booked and what its terms say, so that a scenario that changes nothing comes to the ledger.

The first record of some names is priced here, and a tariff is made of its price. The database sums
the others that the tariff is for. What no tariff can be for is priced here record by record: with
corrections, images, a path's charge or counts that do not fit each other.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC
from typing import Final

import msgspec

from proxy.accounting.what_if_sums import SumKey, WhatIfSum, together
from proxy.core.pricing.amounts import UNPRICED, Priced
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.linear import ZERO
from proxy.core.pricing.scenario import Scenario
from proxy.core.pricing.tariff import Bounds, Names, NotLinear, price_of
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.repricing import standing
from proxy.core.usage import UsageRecord
from proxy.ledger.reading import Reader, Row, Stretch, Tariff, TariffPage, TariffSum

_BOOKS_MAX: Final = 256
_NAMES_MAX: Final = 65_536  # callers make names up
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}
_ADJUSTS: Final = _PLACE["adjusts"]
_SMALL_SEQS: Final = 100_000  # below it the names would be learned twice for nothing
_TARIFFS_MAX: Final = 16_384  # callers make names up: beyond it, all are learned anew


class _Would(enum.Enum):
    """What the requests of a tariff would cost."""

    AS_BOOKED = enum.auto()
    MOVED = enum.auto()  # what was booked, and what the other price comes to beyond the own
    PRICED = enum.auto()  # what the other price comes to, since none is known as booked
    UNKNOWN = enum.auto()
    LEFT_OUT = enum.auto()  # they are not asked for


class _Meant(msgspec.Struct, frozen=True, gc=False):
    """What a tariff's sums count for."""

    key: SumKey
    would: _Would


_Names = tuple[str | None, str | None]
# Of the records that a tariff may be for.
_Alike = tuple[str | None, str | None, Names]


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
        self._sums: dict[SumKey, WhatIfSum] = {}
        self._tariffs: list[Tariff] = []
        self._meant: list[_Meant] = []
        # None: the price of such records is no sum of products.
        self._learned: dict[_Alike, list[Tariff] | None] = {}

    def add(self, stretch: Stretch, advance: Callable[[int], None] = lambda _rows: None) -> None:
        """Adds all requests of a stretch. `advance` is told of seqs as they are done."""
        done = stretch.after
        while done < stretch.through:
            if self._has_too_many:
                self._tariffs, self._meant, self._learned = [], [], {}
            rest = msgspec.structs.replace(stretch, after=done)
            with closing(self._reader.by_tariff(rest, self._tariffs)) as pages:
                for page in pages:
                    self._add_page(page)
                    advance(page.upto_seq - done)
                    done = page.upto_seq
                    if self._has_too_many:
                        break

    @property
    def _has_too_many(self) -> bool:
        return max(len(self._learned), len(self._tariffs)) > _TARIFFS_MAX

    def sums(self) -> list[WhatIfSum]:
        """The sums, by team, model and currency; a missing name first."""
        return together([self._sums.values()])

    def _add_page(self, page: TariffPage) -> None:
        for each in page.sums:
            self._count_all(self._meant[each.place], each)
        corrections: dict[str, list[Row]] = {}
        for row in page.corrections:
            corrections.setdefault(str(row[_ADJUSTS]), []).append(row)
        for row in page.rows:
            record = _record(row)
            asked_for = (not self._upstreams or record.upstream in self._upstreams) and (
                not self._teams or (record.team or "") in self._teams
            )
            if asked_for:
                self._price(record, [_record(each) for each in corrections.get(record.id, ())])
            self._learn(record, asked_for)

    def _learn(self, record: UsageRecord, asked_for: bool) -> None:
        """Makes a tariff for records that are priced as this one is."""
        tokens, at_ms = record.input_tokens, record.started_at_ms
        if tokens is None or record.reason is not None:
            return
        names = Names(
            record.upstream,
            record.team,
            record.model_requested,
            record.model_served,
            record.service_tier,
        )
        alike = (record.price_version, record.currency, names)
        learned = self._learned.setdefault(alike, [])
        if learned is None or any(each.takes(at_ms, tokens) for each in learned):
            return
        try:
            found, meant = self._tariff(alike, at_ms, tokens, asked_for)
        except NotLinear:
            self._learned[alike] = None
            return
        if found.takes(at_ms, tokens):
            learned.append(found)
            self._tariffs.append(found)
            self._meant.append(meant)

    def _tariff(
        self, alike: _Alike, at_ms: int, tokens: int, asked_for: bool
    ) -> tuple[Tariff, _Meant]:
        """The tariff of such records, and what it counts for. Raises NotLinear."""
        version, currency, names = alike
        key = (names.team, names.model_requested, currency)
        books = self._books_of(version)
        if books is None or not asked_for:
            would = _Would.AS_BOOKED if self._scenario == _NOTHING else _Would.UNKNOWN
            still = Tariff(version, currency, names, Bounds(), ZERO, ZERO, False)
            return still, _Meant(key, would if asked_for else _Would.LEFT_OUT)
        own, own_bounds = price_of(books[0], names, at_ms, tokens)
        requested, served = self._named(names.model_requested, names.model_served)
        instead = msgspec.structs.replace(
            names,
            model_requested=requested,
            model_served=served,
            service_tier=self._tier(names.service_tier),
        )
        other, other_bounds = price_of(books[1], instead, at_ms, tokens)
        bounds = own_bounds.within(other_bounds)
        if other is None:
            would = _Would.UNKNOWN if own is not None or currency is None else _Would.AS_BOOKED
            still = Tariff(version, currency, names, bounds, ZERO, ZERO, False)
            return still, _Meant(key, would)
        moves = currency is not None and own is not None
        first = own if own is not None and moves else ZERO
        found = Tariff(version, currency, names, bounds, first, other, first != other)
        key = (names.team, names.model_requested, books[1].currency)
        return found, _Meant(key, _Would.MOVED if moves else _Would.PRICED)

    def _price(self, booked: UsageRecord, corrections: Sequence[UsageRecord]) -> None:
        """Prices one record as it stands."""
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

    def _count_all(self, meant: _Meant, each: TariffSum) -> None:
        """Counts the requests of one tariff."""
        would = meant.would
        if would is _Would.LEFT_OUT:
            return
        sums = self._sum_of(meant.key)
        sums.requests += each.requests
        if each.cost_nano is None or each.charge_nano is None:
            sums.unpriced += each.requests
        else:
            sums.cost_nano = each.cost_nano + (sums.cost_nano or 0)
            sums.charge_nano = each.charge_nano + (sums.charge_nano or 0)
        known = would is not _Would.UNKNOWN and (
            each.cost_nano is not None or would is _Would.PRICED
        )
        if known != (each.cost_nano is not None):
            sums.one_sided += each.requests
        cost_nano, charge_nano = each.cost_moved, each.charge_moved
        if would is not _Would.PRICED:
            if each.cost_nano is None or each.charge_nano is None or would is _Would.UNKNOWN:
                sums.would_be_unpriced += each.requests
                return
            cost_nano += each.cost_nano
            charge_nano += each.charge_nano
        sums.would_cost_nano = cost_nano + (sums.would_cost_nano or 0)
        sums.would_charge_nano = charge_nano + (sums.would_charge_nano or 0)

    def _sum_of(self, key: SumKey) -> WhatIfSum:
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = WhatIfSum(*key)
        return sums

    def _count(
        self,
        team: str | None,
        model: str | None,
        use: UsageRecord,
        cost_nano: int | None,
        would: Priced,
    ) -> None:
        currency = use.currency if would.currency is None else would.currency
        sums = self._sum_of((team, model, currency))
        sums.requests += 1
        if (use.cost_nano is None) != (cost_nano is None):
            sums.one_sided += 1
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


def sums_under(
    reader: Reader,
    scenario: Scenario,
    stretch: Stretch,
    *,
    upstreams: Sequence[str] = (),
    teams: Sequence[str] = (),
    advance: Callable[[int], None] = lambda _rows: None,
) -> list[WhatIfSum]:
    """The sums of a stretch, whose halves are read side by side. See `WhatIf`.

    A database works while Python waits, so that two processors halve the time.
    """
    told, stopped = threading.Lock(), threading.Event()

    def moved(seqs: int) -> None:
        if stopped.is_set():
            raise _Stopped
        with told:
            advance(seqs)

    def part(after: int, through: int) -> list[WhatIfSum]:
        job = WhatIf(reader, scenario, upstreams, teams)
        try:
            job.add(msgspec.structs.replace(stretch, after=after, through=through), moved)
        except _Stopped:
            return []  # nobody reads it: the other half has raised
        except BaseException:
            stopped.set()  # the other half ends with its page
            raise
        return job.sums()

    middle = (stretch.after + stretch.through) // 2
    if stretch.through - stretch.after < _SMALL_SEQS:
        return part(stretch.after, stretch.through)
    with ThreadPoolExecutor(2, "what-if") as both:
        try:
            halves = both.map(part, (stretch.after, middle), (middle, stretch.through))
            return together(halves)
        except BaseException:  # also Ctrl-C
            stopped.set()
            raise


class _Stopped(Exception):
    """The other half failed."""
