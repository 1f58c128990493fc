"""The book over the admin API: records, refusals and the state of ledger and journal.

`GET /admin/v1/records`, `records/{id}`, `export`, `labels`, `refusals`, `ledger`.
Times are days or ISO times in the configured zone; `from` is in the range and `to` is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Literal

import msgspec

from proxy.accounting.export.named import FormatMissing, format_named
from proxy.accounting.export.records import JsonLines
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, Told, read
from proxy.admin.sums import Seq, range_ms
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.records.canonical import COLUMNS
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import JournalFigures, all_figures
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import (
    PAGE_SEQS,
    Entry,
    RefusalSum,
    Row,
    Status,
    Stretch,
)

RECORDS_PATH = "/admin/v1/records"
EXPORT_PATH = "/admin/v1/export"
LABELS_PATH = "/admin/v1/labels"
REFUSALS_PATH = "/admin/v1/refusals"
LEDGER_PATH = "/admin/v1/ledger"
SCANNED_MAX = 20_000  # records that are looked at for one page of those of a key or a team

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

_KEY, _TEAM = COLUMNS.index("key_id"), COLUMNS.index("team")
_SEQ = COLUMNS.index("seq")


class RecordsQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Records booked behind the seq `after`, as far as `through`, of one key or team.

    A page has at most `limit` of them, and may have fewer where most records are others'.
    """

    after: Seq = 0
    through: Seq | None = None
    from_: str | None = None
    to: str | None = None
    key: str | None = None
    team: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000


class ExportQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Which records, as `ledger export` takes it."""

    format: Literal["csv", "jsonl", "parquet"] = "csv"
    after: Seq = 0
    through: Seq | None = None
    from_: str | None = None
    to: str | None = None


class StretchQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Records booked behind the seq `after`, as far as `through`."""

    after: Seq = 0
    through: Seq | None = None
    from_: str | None = None
    to: str | None = None


class Labels(msgspec.Struct, frozen=True):
    """The names of all labels of these records."""

    labels: list[str]


class OneRecord(msgspec.Struct, frozen=True):
    """A record and its adjustments, in the order of booking."""

    entry: Entry
    adjustments: list[Entry]


class RangeQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A range of time, taken to the quarter hour."""

    from_: str | None = None
    to: str | None = None


class RefusalRow(msgspec.Struct, frozen=True):
    """How many requests of one key were refused for one reason; `key` null: none was known.

    team · the key's at that time    limit · the id of what said no, if a limit did
    Both are null for refusals of before this was stored, too.
    first_ms, last_ms · the starts of the first and last quarter hour, in Unix milliseconds
    """

    key: str | None
    team: str | None
    code: str
    limit: str | None
    refusals: int
    first_ms: int
    last_ms: int

    @classmethod
    def of(cls, row: RefusalSum) -> RefusalRow:
        """One row of the ledger."""
        return cls(
            row.key_id, row.team, row.code, row.limit_id, row.count, row.first_ms, row.last_ms
        )


class Refusals(msgspec.Struct, frozen=True):
    """Refused requests, the most frequent first."""

    refusals: list[RefusalRow]


class LedgerState(msgspec.Struct, frozen=True):
    """The ledger, the journal behind it, and the zone of its days. Times are Unix milliseconds."""

    ledger: Status
    journal: list[JournalFigures]
    head: int
    timezone: str


def book_routes(services: Services, snapshot: Callable[[], Snapshot]) -> Sequence[AdminEndpoint]:
    """Every route that reads the book."""
    shelf = _Shelf(services, snapshot)
    return (*_records(shelf), *_lists(shelf))


def _records(shelf: _Shelf) -> Sequence[AdminEndpoint]:
    """The routes of records."""
    on_failure = (503,)
    return (
        AdminEndpoint(
            "GET",
            RECORDS_PATH,
            "List records in the order of booking, one a line.",
            shelf.records,
            RecordsQuery,
            returns=("application/x-ndjson",),
            errors=on_failure,
        ),
        AdminEndpoint(
            "GET",
            f"{RECORDS_PATH}/{{id}}",
            "Show one record and its adjustments.",
            shelf.record,
            returns=OneRecord,
            errors=(404, 503),
        ),
        AdminEndpoint(
            "GET",
            EXPORT_PATH,
            "Write the records of a period as billing loads them.",
            shelf.export,
            ExportQuery,
            returns=tuple(kind.partition(";")[0] for kind in _MEDIA_TYPES.values()),
            errors=on_failure,
        ),
    )


def _lists(shelf: _Shelf) -> Sequence[AdminEndpoint]:
    """The routes of what stands beside the records."""
    on_failure = (503,)
    return (
        AdminEndpoint(
            "GET",
            LABELS_PATH,
            "List the names of the labels that records have.",
            shelf.labels,
            StretchQuery,
            returns=Labels,
            errors=on_failure,
        ),
        AdminEndpoint(
            "GET",
            REFUSALS_PATH,
            "Count the refused requests by key, team, reason and limit.",
            shelf.refusals,
            RangeQuery,
            returns=Refusals,
            errors=on_failure,
        ),
        AdminEndpoint(
            "GET",
            LEDGER_PATH,
            "Show the state of ledger and journal.",
            shelf.state,
            returns=LedgerState,
            errors=on_failure,
        ),
    )


class _Shelf:
    """Answers from the book, read in a thread."""

    def __init__(self, services: Services, snapshot: Callable[[], Snapshot]) -> None:
        self._reader = services.reader
        self._snapshot = snapshot

    async def records(self, ask: AdminRequest) -> Told:
        query: RecordsQuery = ask.query
        stretch = await self._stretch(query.after, query.through, query.from_, query.to)
        lines, zone = bytearray(), self._snapshot().zone

        def page() -> int | None:
            """Fills `lines`; returns what was looked at last, None at the end."""
            left, looked = query.limit, stretch.after
            for part in self._reader.pages(stretch):
                rows = [
                    row
                    for row in part.rows
                    if query.key in (None, row[_KEY]) and query.team in (None, row[_TEAM])
                ]
                lines.extend(JsonLines(zone).lines(rows[:left]))
                if len(rows) > left or (len(rows) == left and part.upto_seq < stretch.through):
                    return _seq(rows[left - 1])
                left, looked = left - len(rows), part.upto_seq
                if looked - stretch.after >= SCANNED_MAX and looked < stretch.through:
                    return looked
            return None

        upto = await read(page)
        return Told("application/x-ndjson", bytes(lines), upto)

    async def record(self, ask: AdminRequest) -> OneRecord:
        id = ask.path["id"]
        found = await read(lambda: self._reader.record(id))
        if found is None:
            message = f"The ledger has no record {id[:80]!r}."
            raise ProxyError(404, "invalid_request_error", "record_not_found", message, param="id")
        return OneRecord(found, await read(lambda: self._reader.adjustments(id)))

    async def export(self, ask: AdminRequest) -> Told:
        query: ExportQuery = ask.query
        stretch = await self._stretch(query.after, query.through, query.from_, query.to)
        csv = query.format == "csv"
        labels = await read(lambda: self._reader.label_names(stretch)) if csv else []
        zone = self._snapshot().zone
        try:
            lines = await asyncio.to_thread(format_named, query.format, zone, labels)
        except FormatMissing as error:
            raise invalid_request(f"On the proxy {error}.", param="format") from error

        async def pieces() -> AsyncIterator[bytes]:
            yield lines.begin()
            # Each page is a question of its own, so that a slow client holds nothing open.
            for after in range(stretch.after, stretch.through, PAGE_SEQS):
                upto = min(stretch.through, after + PAGE_SEQS)
                one = msgspec.structs.replace(stretch, after=after, through=upto)
                yield await answer_of(self._written, lines.lines, one)
            yield await asyncio.to_thread(lines.end)

        return Told(_MEDIA_TYPES[query.format], pieces())

    async def labels(self, ask: AdminRequest) -> Labels:
        query: StretchQuery = ask.query
        stretch = await self._stretch(query.after, query.through, query.from_, query.to)
        return Labels(await read(lambda: self._reader.label_names(stretch)))

    async def refusals(self, ask: AdminRequest) -> Refusals:
        bounds = self._range_ms(ask.query.from_, ask.query.to)
        rows = await read(lambda: [*map(RefusalRow.of, self._reader.refusals(*bounds))])
        return Refusals(rows)

    async def state(self, _ask: AdminRequest) -> LedgerState:
        settings = self._snapshot().settings

        def look() -> LedgerState:
            status = self._reader.status()
            journals = all_figures(settings.data_dir / "journal", status.writers)
            return LedgerState(status, journals, self._reader.head(), settings.timezone)

        try:
            return await read(look)
        except OSError as error:
            message = f"The journal cannot be read: {error}."
            raise ProxyError(503, "api_error", "journal_unavailable", message) from error

    async def _stretch(
        self, after: int, through: int | None, from_: str | None, to: str | None
    ) -> Stretch:
        from_ms, to_ms = self._range_ms(from_, to)

        def narrowed() -> Stretch:
            head = self._reader.head()
            upto = head if through is None else through
            if max(after, upto) > head:
                raise invalid_request(
                    f"The ledger ends at seq {head}.", param="after" if after > head else "through"
                )
            return self._reader.narrowed(
                Stretch(after=after, through=upto, from_ms=from_ms, to_ms=to_ms)
            )

        return await read(narrowed)

    def _range_ms(self, from_: str | None, to: str | None) -> tuple[int | None, int | None]:
        return range_ms(from_, to, self._snapshot().zone)

    def _written(self, lines: Callable[[Sequence[Row]], bytes], stretch: Stretch) -> bytes:
        return b"".join(lines(page.rows) for page in self._reader.pages(stretch))


def _seq(row: Sequence[object]) -> int:
    seq = row[_SEQ]
    assert isinstance(seq, int), "the table is STRICT"
    return seq
