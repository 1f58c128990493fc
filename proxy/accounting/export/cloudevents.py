"""Ledger records as CloudEvents 1.0, one event a record, for systems that meter and bill.

`id` is the record's and `source` names its writer, so that an event that is sent again is known by
them. `data` is the record as JSON lines have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from proxy.accounting.export.records import JsonLines, iso
from proxy.core.records.canonical import COLUMNS, Value

BATCH_TYPE: Final = "application/cloudevents-batch+json; charset=utf-8"
Subject: TypeAlias = Literal["team", "key", "end_user"]

_PLACE = {name: place for place, name in enumerate(COLUMNS)}
_COLUMN: Final[dict[str, str]] = {"team": "team", "key": "key_id", "end_user": "end_user"}


class LedgerEvent(msgspec.Struct, frozen=True):
    """One record as an event, with its place in the ledger; `text` is the event as JSON."""

    seq: int
    id: str
    text: bytes


class _Envelope(msgspec.Struct, frozen=True):
    """The attributes of CloudEvents, in the order in which they are written."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: msgspec.Raw


class CloudEvents:
    """Makes events of records.

    source · what stands before the writer's name    type · of all events, adjustments too
    subject · whose name the event is about; the key's, where the record has none
    """

    def __init__(self, source: str, type: str, subject: Subject) -> None:
        self._source = source
        self._type = type
        self._subject = _PLACE[_COLUMN[subject]]
        self._data = JsonLines(UTC)

    def event(self, row: Sequence[Value]) -> LedgerEvent:
        """The event of one record."""
        seq, id, started_at_ms = (row[_PLACE[name]] for name in ("seq", "id", "started_at_ms"))
        assert isinstance(seq, int) and isinstance(id, str), "the table is STRICT"
        assert isinstance(started_at_ms, int), "the table is STRICT"
        text = msgspec.json.encode(
            _Envelope(
                specversion="1.0",
                id=id,
                source=f"{self._source}/{quote(str(row[_PLACE['writer']]), safe='')}",
                type=self._type,
                subject=str(row[self._subject] or row[_PLACE["key_id"]]),
                time=iso(started_at_ms, UTC),
                datacontenttype="application/json",
                data=msgspec.Raw(self._data.lines([row]).strip()),
            )
        )
        return LedgerEvent(seq, id, text)


def batch(events: Sequence[LedgerEvent]) -> bytes:
    """The body of one request."""
    return b"[" + b",".join(event.text for event in events) + b"]"
