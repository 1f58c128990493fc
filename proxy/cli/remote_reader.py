"""Reads the ledger of a process elsewhere over its admin API, for the commands that report."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import msgspec

from proxy.cli import admin_client
from proxy.cli.lazy import later
from proxy.core.limits.credit import Credit
from proxy.core.records.anchors import Anchor
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.checkpoints import RecordProof
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.journal import JournalFigures
from proxy.ledger.archives import Archive
from proxy.ledger.reading import (
    ALL_SUMS,
    PAGE_SEQS,
    Entry,
    Page,
    RefusalSum,
    Row,
    Status,
    Stretch,
    UsageRow,
)
from proxy.ledger.verification import VerifyStep

if TYPE_CHECKING:
    from proxy.admin import books, limits, months, prices, statements, verifying
    from proxy.admin import sums as totals
else:
    books, limits, prices = map(
        later, ("proxy.admin.books", "proxy.admin.limits", "proxy.admin.prices")
    )
    months, statements, verifying = map(
        later, ("proxy.admin.months", "proxy.admin.statements", "proxy.admin.verifying")
    )
    totals = later("proxy.admin.sums")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Line(msgspec.Struct, frozen=True):
    """What of a record's line is kept as text in the ledger."""

    labels: msgspec.Raw
    tags: msgspec.Raw
    usage_raw: msgspec.Raw


class RemoteReader:
    """See `proxy.ledger.reading.BookReader`. Each question is one request or a few.

    Raises Failed where the process refuses or cannot be asked.
    """

    def __init__(self, process: admin_client.AdminClient) -> None:
        self._process = process

    @property
    def name(self) -> str:
        """See `BookReader.name`."""
        return self._process.name

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone of the config there."""
        return ZoneInfo(self._state.timezone)

    def journals(self, booked: Mapping[str, int]) -> list[JournalFigures]:
        """The figures of the journal there, which its process took when it told the status."""
        return self._state.journal

    def usage(
        self,
        by: Sequence[str],
        from_ms: int | None,
        to_ms: int | None,
        zone: tzinfo,
        *,
        sums: Sequence[str] | None = None,
        team: str | None = None,
        through: int | None = None,
        key: str | None = None,
    ) -> list[UsageRow]:
        """See `BookReader.usage`."""
        query = _range(from_ms, to_ms) | {"by": ",".join(by)}
        # An earlier version there knows its own zone alone.
        query |= {} if str(zone) == self.zone.key else {"zone": str(zone)}
        query |= {} if team is None else {"team": team}
        query |= {} if key is None else {"key": key}
        query |= {} if through is None else {"through": str(through)}
        rows = self._ask(totals.USAGE_PATH, query, totals.UsageRows).usage
        wanted = ALL_SUMS if sums is None else sums
        names = (*by, "currency", *wanted)
        return [
            {name: row[name] for name in names} for row in rows if not by or row["row"] != "total"
        ]

    def record(self, id: str) -> Entry | None:
        """See `BookReader.record`."""
        found = self._one(id)
        return None if found is None else found.entry

    def adjustments(self, id: str) -> list[Entry]:
        """See `BookReader.adjustments`."""
        found = self._one(id)
        return [] if found is None else found.adjustments

    def refusals(self, from_ms: int | None, to_ms: int | None) -> list[RefusalSum]:
        """See `BookReader.refusals`."""
        rows = self._ask(books.REFUSALS_PATH, _range(from_ms, to_ms), books.Refusals).refusals
        return [
            RefusalSum(
                row.key, row.code, row.refusals, row.first_ms, row.last_ms, row.team, row.limit
            )
            for row in rows
        ]

    def credits(self, limit_id: str | None, after: str | None, most: int) -> list[Credit]:
        """See `BookReader.credits`."""
        given = {"limit_id": limit_id, "after": after, "limit": str(most)}
        query = {name: word for name, word in given.items() if word is not None}
        found: limits.Credits = self._ask(limits.CREDITS_PATH, query, limits.Credits)
        return found.credits

    def price_terms(self, version: str) -> bytes | None:
        """See `BookReader.price_terms`."""
        path = f"{prices.VERSIONS_PATH}/{quote(version, safe='')}"
        terms = bytes(self._ask(path, {}, prices.PriceVersion).terms)
        return None if terms == b"null" else terms

    def status(self) -> Status:
        """See `BookReader.status`."""
        return self._state.ledger

    def head(self) -> int:
        """See `BookReader.head`."""
        return self._state.head

    def narrowed(self, stretch: Stretch) -> Stretch:
        """See `BookReader.narrowed`: each page is narrowed there."""
        return stretch

    def pages(
        self, stretch: Stretch, page_seqs: int = PAGE_SEQS, *, corrected: bool = False
    ) -> Generator[Page, None, None]:
        """See `BookReader.pages`; without corrections."""
        after: int | None = stretch.after
        while after is not None:
            query = _stretch(stretch) | {"after": str(after)}
            lines, after = admin_client.lines(self._process, _path(books.RECORDS_PATH, query))
            upto = stretch.through if after is None else after
            yield Page(upto, [_row(line) for line in lines.splitlines()])

    def label_names(self, stretch: Stretch) -> list[str]:
        """See `BookReader.label_names`."""
        found: books.Labels = self._ask(books.LABELS_PATH, _stretch(stretch), books.Labels)
        return found.labels

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        """See `BookReader.verify_step`; the key is the one there."""
        query = {"part": part} | ({} if place is None else {"place": place})
        found: VerifyStep = self._ask(verifying.PATH, query, VerifyStep)
        return found

    def proof(self, id: str) -> RecordProof | None:
        """See `BookReader.proof`."""
        path = months.PROOF_PATH.format(id=quote(id, safe=""))
        return admin_client.ask_known(self._process, path, type=RecordProof)

    def anchor(self) -> Anchor:
        """See `BookReader.anchor`."""
        found: Anchor = self._ask(verifying.ANCHOR_PATH, {}, Anchor)
        return found

    def archives(self) -> list[Archive]:
        """See `BookReader.archives`. The process does not tell."""
        return []

    def closings(self) -> list[Closing]:
        """See `BookReader.closings`."""
        found: statements.ClosedMonths = self._ask(
            statements.STATEMENTS_PATH, {}, statements.ClosedMonths
        )
        return found.statements

    def closed_statement(self, number: int) -> ClosedStatement | None:
        """See `BookReader.closed_statement`."""
        path = statements.STATEMENT_PATH.format(number=number)
        found = admin_client.ask_known(self._process, path, type=statements.KeptStatement)
        return None if found is None else found.closed()

    @cached_property
    def _state(self) -> books.LedgerState:
        state: books.LedgerState = self._ask(books.LEDGER_PATH, {}, books.LedgerState)
        return state

    def _one(self, id: str) -> books.OneRecord | None:
        path = f"{books.RECORDS_PATH}/{quote(id, safe='')}"
        return admin_client.ask_known(self._process, path, type=books.OneRecord)

    def _ask(self, path: str, query: Mapping[str, str], shape: type[Any]) -> Any:
        return admin_client.ask(self._process, "GET", _path(path, query), type=shape)


def _path(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _range(from_ms: int | None, to_ms: int | None) -> dict[str, str]:
    ends = {"from": from_ms, "to": to_ms}
    return {
        name: (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
        for name, ms in ends.items()
        if ms is not None
    }


def _stretch(stretch: Stretch) -> dict[str, str]:
    bounds = {"after": str(stretch.after), "through": str(stretch.through)}
    return bounds | _range(stretch.from_ms, stretch.to_ms)


def _row(line: bytes) -> Row:
    """A record's line as the ledger has it."""
    told = msgspec.json.decode(line, type=dict[str, Any])
    texts = msgspec.json.decode(line, type=_Line)
    for name in ("labels", "tags", "usage_raw"):
        if told[name] is not None:
            told[name] = bytes(getattr(texts, name)).decode()
    for name in ("prev_hash", "hash"):
        told[name] = bytes.fromhex(told[name])
    for name in ("stream", "inconsistent"):
        told[name] = int(told[name])
    return tuple(told[name] for name in COLUMNS)
