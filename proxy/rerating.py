"""Prices booked records anew: with the prices in effect now, a stretch of the book at a time, beside the traffic. What differs is booked as adjustments.

One call does a bounded stretch and says where the next one goes on, so that nobody waits long, a stop loses nothing and progress can be shown. Repeating any
of it books nothing twice (`proxy.ledger.repricing`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from proxy.core.errors import ProxyError, invalid_request
from proxy.core.usage import UsageRecord
from proxy.ledger import BATCH_MAX, Ledger
from proxy.ledger.canonical import COLUMNS, record_from
from proxy.ledger.pages import Page, Row, Stretch, head, narrowed, pages
from proxy.ledger.queries import Queries
from proxy.ledger.repricing import Repriced, Verdict, reprice, standing
from proxy.ledger.spans import YEARS
from proxy.prices import PriceBook

SEQS_MAX = 64 * BATCH_MAX  # of one call: about a second
PAGE_SEQS = 16             # priced at once, in a thread: requests wait for the interpreter meanwhile, a millisecond or two

_KIND, _ADJUSTS = COLUMNS.index("kind"), COLUMNS.index("adjusts")


class Rerate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What to price anew: records started in [from, to), days or ISO times in the ledger's zone, open where null.

    The first call leaves out the rest, or names the prices that it means; the next ones repeat `through` and `price_version` of its answer and have its
    `next` as `after`.
    """

    dry_run: bool
    from_: str | None = None
    to: str | None = None
    after: int | None = None
    through: int | None = None
    price_version: str | None = None


class Change(msgspec.Struct, frozen=True):
    """What the adjustments of one team and model come to, in nano-units; None where no amount is known."""

    team: str | None
    model: str | None
    currency: str | None
    adjustments: int
    cost_nano: int | None
    charge_nano: int | None


class Rerated(msgspec.Struct, frozen=True, kw_only=True):
    """What one call did, or would do. `verdicts` counts the records by `Verdict`; `next` is None behind the last stretch."""

    dry_run: bool
    price_version: str
    period: str
    after: int
    through: int
    next: int | None
    verdicts: dict[str, int]
    changes: list[Change]


async def rerate(
    ask: Rerate, queries: Queries, ledger: Ledger, prices: PriceBook, zone: ZoneInfo, booked: Callable[[UsageRecord], None] | None = None
) -> Rerated:
    """One stretch; `booked` hears of each adjustment. Raises ProxyError 400 or 409 for what cannot be done as asked, LedgerError, LedgerUnavailable.

    Prices must not change between the calls, or a period would be billed by two: 409 `prices_changed`.
    """
    if ask.price_version not in (None, prices.version):
        message = (
            f"The prices in effect are {prices.version}, not {ask.price_version}: reload the config if the file is newer than the process (a changed currency or "
            "timezone needs a restart), then begin anew. What is booked is not booked again."
        )
        raise ProxyError(409, "invalid_request_error", "prices_changed", message)
    from_ms, to_ms = _moment_ms(ask.from_, "from", zone), _moment_ms(ask.to, "to", zone)
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise invalid_request("`to` is not after `from`.", param="to")
    whole = await asyncio.to_thread(_whole, queries, ask, from_ms, to_ms)
    part = msgspec.structs.replace(whole, through=max(whole.after, min(whole.through, whole.after + SEQS_MAX)))
    told = _Told()
    pricing = _Pricing(queries, prices)
    waiting: list[UsageRecord] = []
    with contextlib.closing(pages(queries.path, part, PAGE_SEQS, corrected=True)) as remaining:
        while (repriced := await asyncio.to_thread(pricing.next_of, remaining)) is not None:
            told.add(repriced)
            waiting += [one.adjustment for one in repriced if one.adjustment is not None and not ask.dry_run]
            if len(waiting) > BATCH_MAX - PAGE_SEQS:
                await _book(ledger, waiting, booked)
                waiting = []
    if waiting:
        await _book(ledger, waiting, booked)
    return Rerated(
        dry_run=ask.dry_run,
        price_version=prices.version,
        period=_period(from_ms, to_ms, zone),
        after=whole.after,
        through=whole.through,
        next=part.through if part.through < whole.through else None,
        verdicts=told.verdicts,
        changes=told.changes(),
    )


async def _book(ledger: Ledger, adjustments: Sequence[UsageRecord], booked: Callable[[UsageRecord], None] | None) -> None:
    await ledger.adjust(adjustments)
    if booked is not None:
        for adjustment in adjustments:
            booked(adjustment)


def _whole(queries: Queries, ask: Rerate, from_ms: int | None, to_ms: int | None) -> Stretch:
    """What this call and all that follow it go through; the first one finds its ends."""
    if ask.after is not None and ask.through is not None:
        return Stretch(after=max(0, ask.after), through=min(ask.through, head(queries.path)), from_ms=from_ms, to_ms=to_ms)
    return narrowed(queries.path, Stretch(after=ask.after or 0, through=head(queries.path), from_ms=from_ms, to_ms=to_ms))


class _Pricing:
    """Prices pages, in a thread. Keeps the books of earlier versions that it had to look into."""

    def __init__(self, queries: Queries, prices: PriceBook) -> None:
        self._queries = queries
        self._prices = prices
        self._earlier: dict[str, PriceBook | None] = {}

    def next_of(self, remaining: Iterator[Page]) -> list[Repriced] | None:
        """One for each record of the next page, None behind the last; corrections are looked at with the record that they correct."""
        page = next(remaining, None)
        if page is None:
            return None
        usage = [row for row in page.rows if row[_KIND] == "usage"]
        corrected: dict[str, list[UsageRecord]] = {}
        for row in page.corrections:
            corrected.setdefault(str(row[_ADJUSTS]), []).append(_record(row))
        return [self._repriced(record, corrected.get(record.id, [])) for record in map(_record, usage)]

    def _repriced(self, booked: UsageRecord, corrections: list[UsageRecord]) -> Repriced:
        now = standing(booked, corrections)
        return reprice(booked, corrections, now, self._prices.price_record(now, self._images(booked)))

    def _images(self, booked: UsageRecord) -> int | None:
        """No column has the number of images, but an amount that was made with them tells it, together with the prices of then."""
        version = booked.price_version
        if version is None or not self._prices.counts_images(booked.upstream):
            return None
        if version not in self._earlier:
            self._earlier[version] = self._book_of(version)
        book = self._earlier[version]
        return None if book is None else book.images_of(booked)

    def _book_of(self, version: str) -> PriceBook | None:
        terms = self._queries.price_terms(version)
        try:
            return None if terms is None else PriceBook.from_terms(terms)
        except msgspec.MsgspecError:
            return None  # of another version of this program: the images stay unknown, and with them the amount, which is told


class _Told:
    """The sums of one call. Its changes are at most as many as its records."""

    def __init__(self) -> None:
        self.verdicts = {verdict.value: 0 for verdict in Verdict}
        self._groups: dict[tuple[str | None, str | None, str | None], list[UsageRecord]] = {}

    def add(self, repriced: list[Repriced]) -> None:
        for one in repriced:
            self.verdicts[one.verdict.value] += 1
            if one.adjustment is not None:
                group = (one.adjustment.team, one.adjustment.model_requested, one.adjustment.currency)
                self._groups.setdefault(group, []).append(one.adjustment)

    def changes(self) -> list[Change]:
        found = [
            Change(*group, len(members), total(member.cost_nano for member in members), total(member.charge_nano for member in members))
            for group, members in self._groups.items()
        ]
        return sorted(found, key=sort_key)


def sort_key(change: Change) -> tuple[str, str, str]:
    return change.team or "", change.model or "", change.currency or ""


def total(amounts: Iterator[int | None]) -> int | None:
    """The sum of those that are known; None if none is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))


def _moment_ms(text: str | None, name: str, zone: ZoneInfo) -> int | None:
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
        if read.year not in YEARS:
            raise ValueError(f"the years are {YEARS[0]} to {YEARS[-1]}")
    except ValueError as error:
        raise invalid_request(f"`{name}` {text!r} is no date: write 2026-11-01, 2026-11-01T12:00 or 2026-11-01T12:00+08:00.", param=name) from error
    moment = read.replace(tzinfo=zone) if read.tzinfo is None else read
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def _period(from_ms: int | None, to_ms: int | None, zone: ZoneInfo) -> str:
    ends = [None if ms is None else datetime.fromtimestamp(ms // 1000, zone).isoformat(sep=" ", timespec="minutes") for ms in (from_ms, to_ms)]
    return f"from {ends[0] or 'the beginning'} to {ends[1] or 'now on'}, the end not included ({zone.key})"
