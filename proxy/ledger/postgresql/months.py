"""Sealed months in PostgreSQL, over the chains of all writers in the order of their commits."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from proxy.core.records.canonical import COLUMNS
from proxy.core.records.chain import row_text
from proxy.ledger import LedgerError
from proxy.ledger.months import MONTH_COLUMNS, MonthRow
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.pages import in_book
from proxy.ledger.postgresql.texts import clean

_COLUMNS: Final = ", ".join(MONTH_COLUMNS)
_INSERT: Final = (
    f"INSERT INTO months ({_COLUMNS}) VALUES ({', '.join(['%s'] * len(MONTH_COLUMNS))})"
)
_BEFORE: Final = f"SELECT {_COLUMNS} FROM months WHERE seq < %s ORDER BY seq DESC LIMIT 1"
_BEHIND: Final = f"SELECT {_COLUMNS} FROM months WHERE seq > %s ORDER BY seq LIMIT 1"
_BEGIN: Final = """
SELECT coalesce((SELECT max(seq) FROM checkpoints), (SELECT min(seq - rows) FROM heads), 0)"""
_ARCHIVED: Final = "SELECT coalesce(max(seq), 0) FROM checkpoints"
_BOOKED: Final = (
    "SELECT booked_at_ms FROM heads WHERE seq > %s AND booked_at_ms <= %s ORDER BY seq LIMIT 1"
)
_END: Final = """
SELECT max(seq) FROM heads WHERE booked_at_ms < %(ms)s AND seq < coalesce(
  (SELECT min(seq) FROM heads WHERE seq > %(after)s AND booked_at_ms >= %(ms)s
    AND booked_at_ms <= %(now)s), %(last)s)"""
# What is hashed as a row's seq is its place in its chain.
_HASHED: Final = ", ".join("chain_seq AS seq" if name == "seq" else name for name in COLUMNS)
_ROWS: Final = f"SELECT seq AS place, {_HASHED} FROM ({{rows}}) AS page ORDER BY place"
_LAST_SEQ: Final = 2**62


class PostgresMonths:
    """See `proxy.ledger.months.MonthBook`. The connection is in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self) -> int:
        """See `MonthBook.begin`."""
        return int(self._one(_BEGIN, ())[0])

    def archived(self) -> int:
        """See `MonthBook.archived`."""
        return int(self._one(_ARCHIVED, ())[0])

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
        values = {"after": seq, "ms": ms, "now": now_ms, "last": _LAST_SEQ}
        return int(self._one(_END, values)[0])

    def placed(self, id: str) -> tuple[int, int] | None:
        """See `MonthBook.placed`."""
        query = "SELECT seq, hash_version FROM book WHERE id = %s"
        row = self._connection.execute(query, (clean(id),)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def leaves(self, after: int, through: int) -> list[bytes]:
        """See `MonthBook.leaves`."""
        return [text or b"" for _, _, text in self._read(after, through)]

    def sound_leaves(self, after: int, through: int) -> list[bytes]:
        """See `MonthBook.sound_leaves`."""
        found: list[bytes] = []
        for place, row, text in self._read(after, through):
            expected = after + 1 + len(found)
            is_sound = text is not None and row["hash"] == _hash(row["prev_hash"], text)
            if place != expected or text is None or not is_sound:
                break
            found.append(text)
        if after + len(found) < through:
            raise LedgerError(
                f"the record of seq {after + 1 + len(found)} is missing or was changed: "
                "`tollkeeper ledger verify` says more"
            )
        return found

    def _read(self, after: int, through: int) -> list[tuple[int, dict[str, Any], bytes | None]]:
        """The rows behind `after`, each with its seq and as it is hashed."""
        rows, values = in_book(self._connection, after, through)
        query = _ROWS.format(rows=rows)
        found = []
        for place, *row in self._connection.execute(query.encode(), values):
            stored = dict(zip(COLUMNS, row, strict=True))
            found.append((place, stored, row_text(stored)))
        return found

    def _month(self, query: str, seq: int) -> MonthRow | None:
        row = self._connection.execute(query.encode(), (seq,)).fetchone()
        return None if row is None else MonthRow(*row)

    def _one(self, query: str, values: Any) -> tuple[Any, ...]:
        row = self._connection.execute(query.encode(), values).fetchone()
        assert row is not None, "an aggregate is one row"
        return row


def add_month(connection: Connection, row: MonthRow) -> bool:
    """Store a month in a transaction that holds the lock of orders.

    False, and nothing is stored, where another process has sealed one meanwhile.
    """
    last = PostgresMonths(connection).month_before(None)
    if last is not None and last.seq + 1 != row.first_seq:
        return False
    connection.execute(_INSERT.encode(), msgspec.structs.astuple(row))
    return True


def _hash(prev_hash: bytes, text: bytes) -> bytes:
    return hashlib.sha256(prev_hash + text).digest()
