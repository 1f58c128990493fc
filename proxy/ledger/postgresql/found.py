"""What a transaction finds in the book of the records that it is to book."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.usage import UsageRecord
from proxy.ledger import LedgerUnavailable
from proxy.ledger.postgresql.connection import CORRECTING, LEDGER, Connection, lock

_OWN: Final = tuple(name for name in COLUMNS if name != "seq")
_RECORDS: Final = f"SELECT {', '.join(_OWN)} FROM records WHERE id = ANY (%s)"
_CORRECTIONS: Final = f"SELECT {', '.join(_OWN)} FROM book WHERE adjusts = %s ORDER BY seq"


class FoundRecords:
    """See `proxy.ledger.sorting_out.Known`. `known_ids` are those of the batch that are booked.

    What is read here of corrections is whole: other transactions that correct wait.
    """

    def __init__(self, connection: Connection, known_ids: Collection[str]) -> None:
        self._connection = connection
        self._known_ids = known_ids
        self._looked_up = False
        self._records: dict[str, UsageRecord] | None = None
        self._holds = False

    def known(self, ids: Sequence[str]) -> Collection[str]:
        """Which of these ids are booked. The first question is about the ids of the batch."""
        if not self._looked_up:
            self._looked_up = True
            return self._known_ids
        rows = self._connection.execute("SELECT id FROM records WHERE id = ANY (%s)", (list(ids),))
        return {id for (id,) in rows}

    def booked(self, id: str) -> UsageRecord:
        """The record under an id that is known; all of the batch are read at once."""
        if self._records is None:
            self.hold_corrections()
            self._records = self.all_of(list(self._known_ids))
        return self._records[id]

    def corrections(self, id: str) -> list[UsageRecord]:
        """What adjusts this record, in the order of booking."""
        return _read(self._connection.execute(_CORRECTIONS, (id,)).fetchall())

    def all_of(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """The records under these ids."""
        rows = self._connection.execute(_RECORDS, (list(ids),)).fetchall()
        return {record.id: record for record in _read(rows)}

    def hold_corrections(self) -> None:
        """Keep other transactions from correcting anything until this one has ended."""
        if not self._holds:
            self._connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, CORRECTING)})")
            self._holds = True


def _read(rows: Sequence[tuple[Any, ...]]) -> list[UsageRecord]:
    try:
        return [record_from(dict(zip(_OWN, row, strict=True))) for row in rows]
    except msgspec.MsgspecError as error:
        raise LedgerUnavailable(f"a booked row cannot be read back: {error}") from error
