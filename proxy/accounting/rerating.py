"""Prices booked records anew, a stretch of the book at a time, and books what differs.

`proxy.core.pricing.booked` chooses the terms: those in effect now where they say something about
the record's time, else the record's own. Differences become adjustments, while the proxy serves.

One call does a bounded stretch and says where the next one goes on, so that no request waits long,
a stop loses nothing and progress can be shown. Repeating any of it books nothing twice
(`proxy.core.records.repricing`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from proxy.core import dates
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.model_names import matches
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.booked import BookedPrices, Kept
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.corrections import total
from proxy.core.records.repricing import RERATE, Repriced, Verdict, reprice, standing
from proxy.core.usage import UsageRecord
from proxy.ledger import BATCH_MAX, Batch, Ledger, Reader
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import Page, Row, Stretch

SEQS_MAX = 64 * BATCH_MAX  # of one call: about a second
# priced at once, in a thread: requests wait for the interpreter meanwhile, a millisecond or two
PAGE_SEQS = 16

REASON_CHARS_MAX = 200  # of a column that has one word in most rows

_KIND, _ADJUSTS, _TEAM, _MODEL, _UPSTREAM = map(
    COLUMNS.index, ("kind", "adjusts", "team", "model_requested", "upstream")
)


class Rerate(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """What to price anew: records started in [from, to).

    `from` and `to` are days or ISO times in the ledger's zone, open where null. `teams`, `models`
    (globs of the model asked for) and `upstreams` narrow it, each if there are any; "" is no team,
    no model. `reason` is booked with each adjustment.

    The first call leaves out the rest, or names the prices that it means. The next ones repeat
    `through` and `price_version` of its answer and have its `next` as `after`.
    """

    dry_run: bool
    teams: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    reason: str | None = None
    from_: str | None = None
    to: str | None = None
    after: int | None = None
    through: int | None = None
    price_version: str | None = None


class Change(msgspec.Struct, frozen=True):
    """What the adjustments of one team and model come to, in nano-units.

    None where no amount is known.
    """

    team: str | None
    model: str | None
    currency: str | None
    adjustments: int
    cost_nano: int | None
    charge_nano: int | None


class Rerated(msgspec.Struct, frozen=True, kw_only=True):
    """What one call did, or would do. `next` is None behind the last stretch.

    `verdicts` counts the records by `Verdict`; `kept` counts by `Kept` those whose price the
    terms of now alone would change.
    """

    dry_run: bool
    price_version: str
    period: str
    after: int
    through: int
    next: int | None
    verdicts: dict[str, int]
    kept: dict[str, int]
    changes: list[Change]


async def rerate(
    ask: Rerate,
    reader: Reader,
    ledger: Ledger,
    prices: PriceBook,
    zone: ZoneInfo,
    booked: Callable[[UsageRecord], None] | None = None,
) -> Rerated:
    """Price one stretch anew; `booked` hears of each adjustment.

    Raises ProxyError 400 or 409 for what cannot be done as asked, LedgerError, LedgerUnavailable.
    Prices must not change between the calls, or a period would be billed by two: 409
    `prices_changed`.
    """
    if ask.price_version not in (None, prices.version):
        message = (
            f"The prices in effect are {prices.version}, not {ask.price_version}: reload the "
            "config if the file is newer than the process (a changed currency or timezone needs a "
            "restart), then begin anew. What is booked is not booked again."
        )
        raise ProxyError(409, "invalid_request_error", "prices_changed", message)
    if ask.reason is not None and not (
        0 < len(ask.reason) <= REASON_CHARS_MAX and ask.reason.isprintable()
    ):
        raise invalid_request(
            f"`reason` is one line of at most {REASON_CHARS_MAX} characters.", param="reason"
        )
    start, end = _moment(ask.from_, "from", zone), _moment(ask.to, "to", zone)
    from_ms, to_ms = dates.range_ms(start, end)
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise invalid_request("`to` is not after `from`.", param="to")
    whole = await answer_of(_whole, reader, ask, from_ms, to_ms)
    part = msgspec.structs.replace(
        whole, through=max(whole.after, min(whole.through, whole.after + SEQS_MAX))
    )
    told = _Told()
    pricing = _Pricing(reader, prices, ask)
    booking = _Booking(ledger, pricing.terms_of, booked)
    with contextlib.closing(reader.pages(part, PAGE_SEQS, corrected=True)) as remaining:
        while (repriced := await answer_of(pricing.next_of, remaining)) is not None:
            told.add(repriced)
            if not ask.dry_run:
                await booking.take(
                    [one.adjustment for one, _ in repriced if one.adjustment is not None]
                )
    await booking.end()
    return Rerated(
        dry_run=ask.dry_run,
        price_version=prices.version,
        period=dates.described(start, end, zone),
        after=whole.after,
        through=whole.through,
        next=part.through if part.through < whole.through else None,
        verdicts=told.verdicts,
        kept=told.kept,
        changes=told.changes(),
    )


class _Booking:
    """Books adjustments in batches, and before them the terms that they name."""

    def __init__(
        self,
        ledger: Ledger,
        terms_of: Callable[[str], bytes | None],
        booked: Callable[[UsageRecord], None] | None,
    ) -> None:
        self._ledger = ledger
        self._terms_of = terms_of
        self._booked = booked
        self._waiting: list[UsageRecord] = []
        self._stored: set[str] = set()

    async def take(self, adjustments: Sequence[UsageRecord]) -> None:
        self._waiting += adjustments
        if len(self._waiting) > BATCH_MAX - PAGE_SEQS:
            await self.end()

    async def end(self) -> None:
        """What was taken is booked when this returns."""
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        versions = {
            record.price_version for record in batch if record.price_version is not None
        } - self._stored
        terms = [
            (version, terms)
            for version in sorted(versions)
            if (terms := self._terms_of(version)) is not None
        ]
        if terms:
            await self._ledger.book(Batch(RERATE, price_versions=terms))
        self._stored |= versions
        await self._ledger.adjust(batch)
        if self._booked is not None:
            for adjustment in batch:
                self._booked(adjustment)


def _whole(reader: Reader, ask: Rerate, from_ms: int | None, to_ms: int | None) -> Stretch:
    """The stretch that this call and all that follow go through; the first call finds its ends."""
    if ask.after is not None and ask.through is not None:
        return Stretch(
            after=max(0, ask.after),
            through=min(ask.through, reader.head()),
            from_ms=from_ms,
            to_ms=to_ms,
        )
    return reader.narrowed(
        Stretch(after=ask.after or 0, through=reader.head(), from_ms=from_ms, to_ms=to_ms)
    )


class _Pricing:
    """Prices pages, in a thread."""

    def __init__(self, reader: Reader, prices: PriceBook, ask: Rerate) -> None:
        self._ask = ask
        self._reason = RERATE if ask.reason is None else f"{RERATE}: {ask.reason}"
        self._prices = BookedPrices(prices, reader.price_terms, reader.price_terms_at)

    def terms_of(self, version: str) -> bytes | None:
        """The terms of a version that some record was priced by."""
        return self._prices.terms_of(version)

    def next_of(self, remaining: Iterator[Page]) -> list[tuple[Repriced, Kept | None]] | None:
        """The results for the records of the next page that were asked for; None behind the last.

        Corrections are looked at with the record that they correct.
        """
        page = next(remaining, None)
        if page is None:
            return None
        usage = [row for row in page.rows if row[_KIND] == "usage" and self._asked_for(row)]
        corrected: dict[str, list[UsageRecord]] = {}
        for row in page.corrections:
            corrected.setdefault(str(row[_ADJUSTS]), []).append(_record(row))
        return [
            self._repriced(record, corrected.get(record.id, [])) for record in map(_record, usage)
        ]

    def _asked_for(self, row: Row) -> bool:
        team, model, upstream = (
            "" if row[place] is None else str(row[place]) for place in (_TEAM, _MODEL, _UPSTREAM)
        )
        return (
            (not self._ask.teams or team in self._ask.teams)
            and (not self._ask.models or any(matches(glob, model) for glob in self._ask.models))
            and (not self._ask.upstreams or upstream in self._ask.upstreams)
        )

    def _repriced(
        self, booked: UsageRecord, corrections: list[UsageRecord]
    ) -> tuple[Repriced, Kept | None]:
        now = standing(booked, corrections)
        priced, kept = self._prices.price(booked, corrections, now)
        repriced = reprice(booked, corrections, now, priced, self._reason)
        return repriced, None if repriced.verdict is Verdict.OTHER_CURRENCY else kept


class _Told:
    """The sums of one call. Its changes are at most as many as its records."""

    def __init__(self) -> None:
        self.verdicts = {verdict.value: 0 for verdict in Verdict}
        self.kept = {kept.value: 0 for kept in Kept}
        self._groups: dict[tuple[str | None, str | None, str | None], list[UsageRecord]] = {}

    def add(self, repriced: Sequence[tuple[Repriced, Kept | None]]) -> None:
        for one, kept in repriced:
            self.verdicts[one.verdict.value] += 1
            if kept is not None:
                self.kept[kept.value] += 1
            if one.adjustment is not None:
                group = (
                    one.adjustment.team,
                    one.adjustment.model_requested,
                    one.adjustment.currency,
                )
                self._groups.setdefault(group, []).append(one.adjustment)

    def changes(self) -> list[Change]:
        found = [
            Change(
                *group,
                len(members),
                total(member.cost_nano for member in members),
                total(member.charge_nano for member in members),
            )
            for group, members in self._groups.items()
        ]
        return sorted(found, key=sort_key)


def sort_key(change: Change) -> tuple[str, str, str]:
    return change.team or "", change.model or "", change.currency or ""


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))


def _moment(text: str | None, name: str, zone: ZoneInfo) -> datetime | None:
    try:
        return None if text is None else dates.moment(text, zone)
    except ValueError as error:
        raise invalid_request(f"`{name}` {error}", param=name) from error
