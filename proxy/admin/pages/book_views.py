"""What was used, as pages: sums of a month, the records behind each number, and one record."""

from __future__ import annotations

from typing import Final, Literal, get_args
from urllib.parse import quote

import msgspec

from proxy.accounting.explained import Explained, explained, in_words
from proxy.admin.endpoint import read
from proxy.admin.pages.chosen_records import ChosenAsked, ChosenRecords, chosen
from proxy.admin.pages.look import PageLook, ShownPage, link
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.pricing.book import PriceBook
from proxy.core.usage import UsageRecord
from proxy.dataplane.endpoints.sums import Sums
from proxy.dataplane.endpoints.turns import Turns
from proxy.dataplane.endpoints.usage import readable
from proxy.dataplane.pages import chart
from proxy.dataplane.pages.lines import LINE_SUMS, UseLine, most_first, use_lines
from proxy.dataplane.pages.months import MonthAsked, moment, month_of
from proxy.dataplane.pages.recent import RecentPage, page_of
from proxy.dataplane.pages.views import fields_of
from proxy.dataplane.services import Services
from proxy.ledger import QuestionRefused
from proxy.ledger.reading import Entry, Reader, UsageRow

SHOWN_MAX: Final = 100  # lines of a table
READING_AT_ONCE: Final = 2  # pages that read the book; each takes a thread that all share
By = Literal["team", "key", "model", "upstream", "day"]


class UseAsked(msgspec.Struct, frozen=True):
    """A month, by what its use is grouped, and of which team or key alone."""

    month: str | None = None
    by: By = "team"
    team: str | None = None
    key: str | None = None


class LinkedLine(msgspec.Struct, frozen=True):
    """A line of a table.

    records · the page of the records behind its numbers    page · that of the team or key it is of
    """

    line: UseLine
    records: str
    page: str | None


class RecordLine(msgspec.Struct, frozen=True):
    """A record in a list: when it began, and the page of the record, or of the one it corrects."""

    record: UsageRecord
    at: str
    page: str


class BookViews:
    """Pages of the book. All raise ProxyError 503 while it cannot be read."""

    def __init__(self, services: Services) -> None:
        self._reader: Reader = services.reader
        self._sums = Sums(services.reader)
        self._turns = Turns(READING_AT_ONCE)

    async def sums(
        self, look: PageLook, by: tuple[str, ...], of: ChosenRecords, *, most: int | None = None
    ) -> list[LinkedLine]:
        """What the chosen records come to, by group, the most first, days in their order.

        `by` is one name or none. Raises ProxyError 503.
        """
        name = by[0] if by else None
        rows = await self.rows(look, by, of)
        found = use_lines(rows, name, look.snapshot.settings.currency)
        found.sort(key=(lambda line: line.label or "") if name == "day" else most_first)
        return [
            LinkedLine(line, of.narrowed(name, line.label).link(), _page(name, line.label))
            for line in found[:most]
        ]

    async def rows(self, look: PageLook, by: tuple[str, ...], of: ChosenRecords) -> list[UsageRow]:
        """Sums of the chosen records by group. Raises ProxyError 503."""
        # The reader chooses by team and key; what else is chosen is grouped by, and looked for.
        more = tuple(name for name in of.wanted if name not in by and name not in of.asked_for)
        zone = look.snapshot.zone
        with readable():
            async with self._turns.of(look.visitor.asker.name):
                rows = await self._sums.of(
                    (*by, *more),
                    zone,
                    of.from_ms or 0,
                    of.to_ms,
                    of.asked_for.get("team"),
                    of.asked_for.get("key"),
                    LINE_SUMS,
                )
        return [row for row in rows if of.holds(row)]

    async def use(self, look: PageLook) -> ShownPage:
        """The use of a month by team, key, model, upstream or day."""
        asked = look.asked(UseAsked)
        _, months = month_of(MonthAsked(asked.month), look.snapshot.zone, look.now_ms)
        name = str(months["month"])
        of = chosen(ChosenAsked(month=name, team=asked.team, key=asked.key), look.snapshot.zone)
        lines = await self.sums(look, (asked.by,), of)
        days = lines if asked.by == "day" else []
        told = {"by": asked.by, "team": asked.team, "key": asked.key}
        return ShownPage(
            "admin_use",
            {
                **months,
                "asked": asked,
                "total": await self.sums(look, (), of),
                "lines": lines[:SHOWN_MAX],
                "more": max(0, len(lines) - SHOWN_MAX),
                "chart": chart.bars(
                    [(one.line.label or "", one.line.charge_nano or 0) for one in days]
                ),
                "tabs": [
                    (by, link("/ui/use", month=name, **{**told, "by": by})) for by in get_args(By)
                ],
                "before_link": link("/ui/use", month=str(months["previous"]), **told),
                "after_link": link("/ui/use", month=str(months["following"]), **told),
            },
        )

    async def records(self, look: PageLook) -> ShownPage:
        """The records behind a number, the newest first, or one of them."""
        if look.rest:
            return await self._record(look, look.rest)
        asked, zone = look.asked(ChosenAsked), look.snapshot.zone
        of = chosen(asked, zone)
        async with self._turns.of(look.visitor.asker.name):
            page = await read(lambda: self._listed(of, asked.before))
        return ShownPage(
            "admin_records",
            {
                "asked": asked,
                "of": of,
                "total": await self.sums(look, (), of),
                "records": [
                    RecordLine(one, moment(one.started_at_ms, zone), _record_page(one))
                    for one in page.records
                ],
                "older": None if page.before is None else of.link(before=page.before),
                "newest_link": None if asked.before is None else of.link(),
            },
        )

    def _listed(self, of: ChosenRecords, before: int | None) -> RecentPage:
        try:
            return page_of(self._reader, of.choice(self._reader.head()), before)
        except QuestionRefused as error:
            raise invalid_request(f"before: {error}.", param="before") from error

    async def _record(self, look: PageLook, id: str) -> ShownPage:
        zone = look.snapshot.zone
        entry = await read(lambda: self._reader.record(id))
        if entry is None:
            message = f"The ledger has no record {id[:80]!r}."
            raise ProxyError(404, "invalid_request_error", "record_not_found", message)

        def told() -> list[tuple[Explained, str | None]]:
            return [(one, self._row_link(one)) for one in explained(entry, self._reader)]

        async with self._turns.of(look.visitor.asker.name):
            parts = await read(told)
        return ShownPage(
            "admin_record",
            {
                "record": entry.record,
                "at": moment(entry.record.started_at_ms, zone),
                "key_link": f"/ui/keys/{quote(entry.record.key_id, safe='')}",
                "entries": [
                    {
                        "entry": one.entry,
                        "words": in_words(one, zone),
                        "row_link": row_link,
                        "fields": fields_of(
                            {**msgspec.to_builtins(one.entry.record), **_places(one.entry)}
                        ),
                    }
                    for one, row_link in parts
                ],
            },
        )

    def _row_link(self, one: Explained) -> str | None:
        """The page of the price row that made an amount."""
        version, how = one.entry.record.price_version, one.how
        kept = None if version is None or how is None else self._reader.price_terms(version)
        if kept is None or how is None:
            return None
        rows = PriceBook.from_terms(kept).content.rows
        place = next((n for n, row in enumerate(rows) if row == how.row), None)
        return link(f"/ui/prices/{quote(str(version), safe='')}", row=place)


def _page(name: str | None, label: str | None) -> str | None:
    """The page of a team or key that a line is of."""
    if name not in ("team", "key") or label is None:
        return None
    return f"/ui/{name}s/{quote(label, safe='')}"


def _record_page(record: UsageRecord) -> str:
    return f"/ui/records/{quote(record.adjusts or record.id, safe='')}"


def _places(entry: Entry) -> dict[str, object]:
    """What the ledger has added to a record."""
    names = ("seq", "booked_at_ms", "hash_version", "hash")
    return {name: getattr(entry, name) for name in names}
