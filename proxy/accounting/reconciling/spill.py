"""Joins requests of both sides by the vendor's id, outside of memory.

Both sides go into a database without a name, which SQLite keeps in memory while it is small and in
a file of its own otherwise, and which ends with the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final

import msgspec

from proxy.core.reconciling.lines import OwnLine, VendorLine

_BATCH: Final = 1000
_PAGES_KB: Final = 65_536
_encode = msgspec.msgpack.Encoder().encode
_own = msgspec.msgpack.Decoder(OwnLine).decode
_billed = msgspec.msgpack.Decoder(VendorLine).decode


class Spill:
    """Requests by id. Add all of one side and of the other, then ask."""

    def __init__(self) -> None:
        # As "", unlike ":memory:", it may grow beyond memory.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{_PAGES_KB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        # Without an index, whose order would be read at random: what is asked is sorted, once.
        self._database.execute("CREATE TABLE both (id TEXT, own INTEGER, line BLOB)")
        self._database.execute("BEGIN")
        self._waiting: list[tuple[str, int, bytes]] = []

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def add_billed(self, line: VendorLine) -> None:
        """Adds a line of the bill, which has an id."""
        self._add(line.id or "", 0, _encode(line))

    def add_own(self, line: OwnLine) -> None:
        """Adds a request of the ledger, which has an id."""
        self._add(line.id or "", 1, _encode(line))

    def common(self) -> int:
        """How many ids are known on both sides."""
        self._flush()
        [count] = self._database.execute(
            "SELECT COUNT(*) FROM (SELECT id FROM both GROUP BY id HAVING MIN(own) != MAX(own))"
        ).fetchone()
        return int(count)

    def requests(self) -> Iterator[tuple[Sequence[OwnLine], Sequence[VendorLine]]]:
        """Both sides of each id."""
        self._flush()
        ours: list[OwnLine] = []
        theirs: list[VendorLine] = []
        last: str | None = None
        for id, own, line in self._database.execute(
            "SELECT id, own, line FROM both ORDER BY id, own"
        ):
            if id != last and last is not None:
                yield ours, theirs
                ours, theirs = [], []
            last = id
            if own:
                ours.append(_own(line))
            else:
                theirs.append(_billed(line))
        if last is not None:
            yield ours, theirs

    def _add(self, id: str, own: int, line: bytes) -> None:
        self._waiting.append((id, own, line))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._database.executemany("INSERT INTO both VALUES (?, ?, ?)", self._waiting)
        self._waiting.clear()
