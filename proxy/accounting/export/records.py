"""Ledger records as csv or JSON lines, with the same columns in both.

First come money as decimals and ISO times, for people; then the record as it is stored.

- csv is for spreadsheets. An unknown value is an empty field. A text that a spreadsheet would run
  as a formula gets a `'` in front. Control characters become spaces, so that a record is one line.
  Each label has a column of its own behind the others, `label:NAME`.
- JSON lines have every text exactly as it is stored, labels, tags and usage_raw as objects, and
  null for unknown.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from operator import itemgetter
from typing import Protocol

import msgspec

from proxy.core.money import decimal
from proxy.core.records import canonical
from proxy.core.records.canonical import Value
from proxy.ledger.reading import LABEL

FOR_PEOPLE = ("cost", "charge", "currency", "started_at", "booked_at")
COLUMNS: tuple[str, ...] = (
    *FOR_PEOPLE,
    *(name for name in canonical.COLUMNS if name != "currency"),
)

_PLACE = {name: place for place, name in enumerate(canonical.COLUMNS)}
_AS_STORED = itemgetter(*(_PLACE[name] for name in COLUMNS[len(FOR_PEOPLE) :]))
_LABELS = _PLACE["labels"]
_OBJECTS = tuple(_PLACE[name] for name in ("labels", "tags", "usage_raw"))
_FLAGS = tuple(_PLACE[name] for name in ("stream", "inconsistent"))
_HASHES = tuple(_PLACE[name] for name in ("prev_hash", "hash"))
_NAMES_REMEMBERED_MAX = 1024  # most texts of a page are the same few names

# What begins a formula, in the full-width letters too, which some versions take for the same. A
# cell begins at its first character. Where a file is opened with another separator than the comma,
# it also begins behind that separator: quotes do not protect there, since the cell does not begin
# with them.
_FORMULA = re.compile(r"""(?:^|(?<=[;|]))(?=[\s"']*[=+\-@＝＋－＠])""")
_CONTROLS = dict.fromkeys((*range(0x20), 0x7F), " ")
_SEPARATORS_IN_JSON = str.maketrans({";": "\\u003b", "|": "\\u007c"})


class Lines(Protocol):
    """A format: what stands before the first record, records as bytes, and what stands behind."""

    def begin(self) -> bytes: ...
    def lines(self, rows: Sequence[Sequence[Value]]) -> bytes: ...
    def end(self) -> bytes: ...


class Csv:
    """As RFC 4180 has it, in UTF-8 without a byte order mark; lines end in a bare newline.

    `labels` names the labels that get a column.
    """

    def __init__(self, zone: tzinfo, labels: Sequence[str] = ()) -> None:
        self._zone = zone
        self._names = labels
        self._labels = lru_cache(_NAMES_REMEMBERED_MAX)(self._label_cells)
        self._text = lru_cache(_NAMES_REMEMBERED_MAX)(harmless)

    def begin(self) -> bytes:
        return self._encoded([[*COLUMNS, *(harmless(f"{LABEL}{name}") for name in self._names)]])

    def lines(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """One line a row, in the order given."""
        return self._encoded(map(self._cells, rows))

    def end(self) -> bytes:
        """Nothing."""
        return b""

    @staticmethod
    def _encoded(lines: Iterable[Sequence[Value]]) -> bytes:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(lines)
        return out.getvalue().encode()

    def _cells(self, row: Sequence[Value]) -> list[Value]:
        text = self._text
        cells = [text(value) if isinstance(value, str) else value for value in row]
        for place in _OBJECTS:
            value = row[place]
            cells[place] = value.translate(_SEPARATORS_IN_JSON) if isinstance(value, str) else value
        for place in _FLAGS:
            cells[place] = "true" if row[place] else "false"
        for place in _HASHES:
            cells[place] = _hex(row[place])
        return [*_for_people(cells, self._zone), *_AS_STORED(cells), *self._labels(row[_LABELS])]

    def _label_cells(self, stored: Value) -> list[str | None]:
        """The cells of the labels' columns; None where the record has no such label."""
        found = (
            msgspec.json.decode(stored, type=dict[str, str])
            if self._names and isinstance(stored, str)
            else {}
        )
        return [harmless(found[name]) if name in found else None for name in self._names]


class JsonLines:
    """One JSON object a line; labels are an object in it, whatever their names."""

    def __init__(self, zone: tzinfo, labels: Sequence[str] = ()) -> None:
        self._zone = zone

    def begin(self) -> bytes:
        return b""

    def lines(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """One line a row, in the order given."""
        return b"".join(msgspec.json.encode(self._object(row)) + b"\n" for row in rows)

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _object(self, row: Sequence[Value]) -> dict[str, object]:
        values: list[object] = list(row)
        for place in _OBJECTS:
            value = row[place]
            values[place] = msgspec.Raw(value.encode()) if isinstance(value, str) else value
        for place in _FLAGS:
            values[place] = bool(row[place])
        for place in _HASHES:
            values[place] = _hex(row[place])
        return dict(zip(COLUMNS, (*_for_people(row, self._zone), *_AS_STORED(values)), strict=True))


FORMATS: Mapping[str, Callable[[tzinfo, Sequence[str]], Lines]] = {"csv": Csv, "jsonl": JsonLines}


def iso(ms: int, zone: tzinfo) -> str:
    """Unix milliseconds as ISO 8601 in the zone, with the offset in force."""
    local = datetime.fromtimestamp(ms // 1000, zone).replace(microsecond=ms % 1000 * 1000)
    return local.isoformat(timespec="milliseconds")


def _for_people(row: Sequence[Value], zone: tzinfo) -> tuple[Value, ...]:
    """The values of FOR_PEOPLE."""
    cost, charge, started, booked = (
        row[_PLACE["cost_nano"]],
        row[_PLACE["charge_nano"]],
        row[_PLACE["started_at_ms"]],
        row[_PLACE["booked_at_ms"]],
    )
    assert isinstance(started, int) and isinstance(booked, int), "the table is STRICT"
    return (
        decimal(cost) if isinstance(cost, int) else None,
        decimal(charge) if isinstance(charge, int) else None,
        row[_PLACE["currency"]],
        iso(started, zone),
        iso(booked, zone),
    )


def _hex(value: Value) -> Value:
    return value.hex() if isinstance(value, bytes) else value


def harmless(text: str) -> str:
    """The text with a `'` before all that a spreadsheet could take for a formula.

    Names come from clients and vendors.
    """
    return _FORMULA.sub("'", text.translate(_CONTROLS))
