"""Sealed months in SQLite: the table, and what `proxy.ledger.months` asks of the book."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from proxy.ledger.months import MONTH_COLUMNS, MonthRow
from proxy.ledger.sqlite.row_texts import links_of, sound_texts

MONTHS_SINCE: Final = 13  # the schema version

MONTHS = """
CREATE TABLE months (
    seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    month TEXT NOT NULL UNIQUE,
    until_ms INTEGER NOT NULL,
    sealed_at_ms INTEGER NOT NULL,
    root BLOB NOT NULL,
    chunks BLOB NOT NULL,
    public_key BLOB NOT NULL,
    checkpoint TEXT NOT NULL
) STRICT;
CREATE TRIGGER months_known BEFORE INSERT ON months
    WHEN EXISTS (SELECT 1 FROM months WHERE seq = NEW.seq OR month = NEW.month)
    BEGIN SELECT RAISE(IGNORE); END;
"""

_COLUMNS: Final = ", ".join(MONTH_COLUMNS)
_INSERT: Final = f"INSERT INTO months ({_COLUMNS}) VALUES ({', '.join('?' * len(MONTH_COLUMNS))})"
_BEFORE: Final = f"SELECT {_COLUMNS} FROM months WHERE seq < ? ORDER BY seq DESC LIMIT 1"
_BEHIND: Final = f"SELECT {_COLUMNS} FROM months WHERE seq > ? ORDER BY seq LIMIT 1"
_BEGIN: Final = """
SELECT coalesce((SELECT max(seq) FROM checkpoints), (SELECT min(seq) - 1 FROM records), 0)"""
_ARCHIVED: Final = "SELECT coalesce(max(seq), 0) FROM checkpoints"
_BOOKED: Final = (
    "SELECT booked_at_ms FROM heads WHERE seq > ? AND booked_at_ms <= ? ORDER BY seq LIMIT 1"
)
_NEXT: Final = (
    "SELECT min(seq) FROM heads WHERE seq > ? AND booked_at_ms >= ? AND booked_at_ms <= ?"
)
_END: Final = "SELECT max(seq) FROM heads WHERE seq < ? AND booked_at_ms < ?"
_LAST_SEQ: Final = 2**62


class SqliteMonths:
    """See `proxy.ledger.months.MonthBook`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> int:
        """See `MonthBook.begin`."""
        return int(self._one(_BEGIN)[0])

    def archived(self) -> int:
        """See `MonthBook.archived`."""
        return int(self._one(_ARCHIVED)[0])

    def month_before(self, seq: int | None) -> MonthRow | None:
        """See `MonthBook.month_before`."""
        return self._month(_BEFORE, _LAST_SEQ if seq is None else seq)

    def month_behind(self, seq: int) -> MonthRow | None:
        """See `MonthBook.month_behind`."""
        return self._month(_BEHIND, seq)

    def booked_behind(self, seq: int, now_ms: int) -> int | None:
        """See `MonthBook.booked_behind`."""
        row = self._connection.execute(_BOOKED, (seq, now_ms)).fetchone()
        return None if row is None else int(row[0])

    def last_before(self, seq: int, ms: int, now_ms: int) -> int:
        """See `MonthBook.last_before`."""
        [behind] = self._one(_NEXT, (seq, ms, now_ms))
        return int(self._one(_END, (_LAST_SEQ if behind is None else behind, ms))[0])

    def placed(self, id: str) -> tuple[int, int] | None:
        """See `MonthBook.placed`."""
        query = "SELECT seq, hash_version FROM records WHERE id = ?"
        found: tuple[int, int] | None = self._connection.execute(query, (id,)).fetchone()
        return found

    def leaves(self, after: int, through: int) -> list[bytes]:
        """See `MonthBook.leaves`."""
        return [link[1] for link in links_of(self._connection, after, through, through - after)]

    def sound_leaves(self, after: int, through: int) -> list[bytes]:
        """See `MonthBook.sound_leaves`."""
        return list(sound_texts(self._connection, after, through))

    def _month(self, query: str, seq: int) -> MonthRow | None:
        row = self._connection.execute(query, (seq,)).fetchone()
        return None if row is None else MonthRow(*row)

    def _one(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._connection.execute(query, values).fetchone()
        return row


def add_month(connection: sqlite3.Connection, row: MonthRow) -> None:
    """Store a month; one that is sealed stays as it is. Raises sqlite3.Error."""
    connection.execute(_INSERT, msgspec.structs.astuple(row))
