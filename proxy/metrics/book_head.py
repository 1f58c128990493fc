"""Where the book ends, as two gauges: who keeps the scrapes has an anchor of each of them."""

from __future__ import annotations

from typing import Final

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import LedgerError, LedgerUnavailable, Reader
from proxy.ledger.asking import RepeatedQuestion
from proxy.ledger.reading import Stretch

ANSWER_MAX_S: Final = 5.0  # as for `spend`
HASH_BYTES: Final = 6  # of the hash: so many are exact in a gauge, which is a float

_HASH = COLUMNS.index("hash")


class BookHead:
    """Reads the last record in `refresh`, before a page; None where there is none to be read.

    seq · its seq    hash · the first 48 bits of its hash, as a number
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._question = RepeatedQuestion(self._read)
        self.seq: int | None = None
        self.hash: int | None = None

    async def refresh(self) -> None:
        """Read the end of the book anew, both gauges of one record."""
        try:
            self.seq, self.hash = await self._question.answer(ANSWER_MAX_S)
        except (LedgerError, LedgerUnavailable):
            self.seq = self.hash = None

    def _read(self) -> tuple[int | None, int | None]:
        seq = self._reader.head()
        for page in self._reader.pages(Stretch(after=seq - 1, through=seq)) if seq else ():
            for row in page.rows:
                row_hash = row[_HASH]
                if isinstance(row_hash, bytes):
                    return seq, int.from_bytes(row_hash[:HASH_BYTES], "big")
        return None, None
