"""The ledger's side: the requests of some upstreams, each with all of its corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from proxy.core.pricing.book import PriceBook
from proxy.core.records.by_hand import BY_HAND
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.repricing import standing
from proxy.core.usage import UsageRecord
from proxy.ledger.reading import BookReader, Row, Stretch

_KIND, _ADJUSTS, _UPSTREAM, _ORIGIN = map(COLUMNS.index, ("kind", "adjusts", "upstream", "origin"))
Progress = Callable[[int], None]
_BOOKS_MAX: Final = 64


class OwnSide:
    """Reads requests that started in [from_ms, to_ms) and went to these upstreams."""

    def __init__(
        self, reader: BookReader, upstreams: Sequence[str], from_ms: int | None, to_ms: int | None
    ) -> None:
        self._reader = reader
        self._upstreams = frozenset(upstreams)
        self.stretch = reader.narrowed(Stretch(through=reader.head(), from_ms=from_ms, to_ms=to_ms))
        self._books: dict[str, PriceBook | None] = {}
        self.by_hand: list[UsageRecord] = []  # entries that the last reading passed

    def records(self, advance: Progress | None = None) -> Iterator[UsageRecord]:
        """Each request as it stands."""
        done = self.stretch.after
        self.by_hand = []
        for page in self._reader.pages(self.stretch, corrected=True):
            corrections: dict[str, list[Row]] = {}
            for row in page.corrections:
                corrections.setdefault(str(row[_ADJUSTS]), []).append(row)
            for row in page.rows:
                if self._upstreams and row[_UPSTREAM] not in self._upstreams:
                    continue
                if row[_KIND] == "usage":
                    record = _record(row)
                    later = [_record(each) for each in corrections.get(record.id, ())]
                    yield standing(record, later)
                elif row[_ORIGIN] == BY_HAND:
                    self.by_hand.append(_record(row))
            if advance is not None:
                advance(page.upto_seq - done)
            done = page.upto_seq

    def book_of(self, record: UsageRecord) -> PriceBook | None:
        """The prices by which a record was priced; None where they are not known."""
        version = record.price_version
        if version is None:
            return None
        if version not in self._books:
            if len(self._books) >= _BOOKS_MAX:
                self._books.clear()
            terms = self._reader.price_terms(version)
            self._books[version] = None if terms is None else _read(terms)
        return self._books[version]


def _read(terms: bytes) -> PriceBook | None:
    try:
        return PriceBook.from_terms(terms)
    except msgspec.MsgspecError:
        return None  # of another version of this program


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))
