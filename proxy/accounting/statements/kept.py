"""Statements as they are kept: to bytes and back, and held against the book and a signature."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.statements.statement import MonthStatement, read_statement
from proxy.core.records.canonical import COLUMNS
from proxy.core.statements.closing import Closing
from proxy.core.statements.frozen import FORMAT, frozen, wrong_sums
from proxy.core.statements.tally import SUMS
from proxy.ledger.reading import BookReader, Stretch, UsageRow

# What the book says again whenever it is asked. The rest is as it was known at the close.
_FROM_BOOK: Final = ("hash", "rows", "earlier", "due", "labels", "prices", "corrections", "apart")
_BOOKED: Final = COLUMNS.index("booked_at_ms")


class NoStatement(Exception):
    """The bytes are no statement; the message says why."""


def kept(statement: MonthStatement) -> bytes:
    """The bytes that a closed statement is kept and signed as."""
    return frozen(statement)


def thawed(document: bytes) -> MonthStatement:
    """The statement in such bytes. Raises NoStatement."""
    told = _told(document)
    try:
        found = msgspec.convert(told, MonthStatement, strict=False)
    except msgspec.ValidationError as error:
        raise NoStatement(f"it is no statement that this version reads: {error}") from error
    return msgspec.structs.replace(
        found, rows=list(map(_row, found.rows)), earlier=list(map(_row, found.earlier))
    )


def sums_wrong(document: bytes) -> list[str]:
    """What does not add up in it, one sentence each. Raises NoStatement."""
    told = _told(document)
    try:
        return wrong_sums(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoStatement(f"it is no statement that this version reads: {error!r}") from error


def archived_through(reader: BookReader, closed: MonthStatement) -> int | None:
    """The last seq that is not in the ledger any more, if the statement may count such a record.

    None: all that it counts is there. What it counts was booked after its month began, so nothing
    is missing where the first record that is left was booked before. Raises what the reader raises.
    """
    first = reader.status().first_seq
    if first is None or first <= 1:
        return None
    for page in reader.pages(Stretch(after=first - 1, through=first)):
        for row in page.rows:
            booked_ms = row[_BOOKED]
            if isinstance(booked_ms, int) and booked_ms <= closed.from_ms:
                return None
    return first - 1


def differences(
    reader: BookReader, closed: MonthStatement, closings: Sequence[Closing]
) -> list[str]:
    """Where the book says something else now than a closed statement does.

    `closings` are all that the ledger has. Raises what the reader raises.
    """
    zone = ZoneInfo(closed.timezone)
    again = read_statement(
        reader,
        datetime.fromtimestamp(closed.from_ms // 1000, UTC).astimezone(zone),
        datetime.fromtimestamp(closed.to_ms // 1000, UTC).astimezone(zone),
        zone,
        team=closed.team,
        through=closed.through,
        closings=[one for one in closings if one.number < (closed.number or 0)],
    )
    return [
        f"{name}: the statement says {_short(said)}, the book {_short(found)}"
        for name in _FROM_BOOK
        if (said := getattr(closed, name)) != (found := getattr(again, name))
    ]


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 300 else f"{text[:300]} …"


def _told(document: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoStatement(f"it is no JSON: {error}") from error
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise NoStatement(f"it is no {FORMAT!r}")
    return told


def _row(row: UsageRow) -> UsageRow:
    """The row with its counts as numbers; its names stay text."""
    return {
        name: int(value) if name in SUMS and isinstance(value, str) else value
        for name, value in row.items()
    }
