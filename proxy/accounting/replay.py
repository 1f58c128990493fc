"""Books into a ledger what the journals beside it have, as a start does, and tells what it was.

A ledger that was restored from a backup is behind its journals. They keep what was booked for
`journal.keep`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy.accounting.adoption import adopt
from proxy.accounting.belonging import stranger, why_strange
from proxy.core.pricing.amounts import Pricing
from proxy.journal import JournalOptions, JournalReader, inspect
from proxy.ledger import Ledger, LedgerError, Reader
from proxy.metrics.collector import Metrics

_BATCH: Final = 256
_WAIT_S: Final = 7 * 86_400.0  # a person waits, and may end it: what is booked by then stays


class JournalReplay(msgspec.Struct, frozen=True):
    """One journal, and what of it the ledger had not booked.

    in_use · a running process holds it, and books it by itself
    after_seq · the ledger's position in it before    ended · records behind that
    open · exchanges that a dead process left open    missing · entries that the journal no longer
    has    unreadable · records that are damaged    skipped_bytes · damage that was passed over
    stranger · a record by which it is known to be of another ledger; then nothing is booked
    """

    writer: str
    in_use: bool
    after_seq: int
    ended: int
    open: int
    missing: int
    unreadable: int
    skipped_bytes: int
    stranger: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the journal has everything that was not booked."""
        return not (self.missing or self.unreadable or self.skipped_bytes or self.stranger)


class Replayed(msgspec.Struct, frozen=True):
    """What the journals had, and how the book grew.

    `settled` were left open and charged by their marks. `records` and `adjustments` are those
    booked, the former including the latter.
    """

    journals: Sequence[JournalReplay]
    settled: int
    records: int
    adjustments: int
    last_seq: int
    last_hash: str | None


def look(root: Path, reader: Reader) -> list[JournalReplay]:
    """What the journals under `root` have beyond the ledger. Changes nothing.

    Raises OSError, LedgerError, LedgerUnavailable.
    """
    positions = reader.status().writers
    directories = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [_looked(path, positions.get(path.name, 0), reader) for path in directories]


async def replay(
    root: Path,
    options: JournalOptions,
    ledger: Ledger,
    reader: Reader,
    metrics: Metrics,
    pricing: Pricing,
) -> Replayed:
    """Settle and book all that the journals under `root` have, but those of running processes.

    Booking is idempotent: what is booked is not booked again. Raises JournalUnavailable, OSError,
    LedgerError, LedgerUnavailable. A journal of another ledger is a LedgerError.
    """
    journals = await asyncio.to_thread(look, root, reader)
    for journal in journals:
        if journal.stranger is not None:
            raise LedgerError(why_strange(root / journal.writer, journal.stranger))
    before = await asyncio.to_thread(reader.status)
    settled = 0
    for journal in journals:
        if not journal.in_use:
            settled += await adopt(
                root / journal.writer, options, ledger, metrics, pricing, timeout_s=_WAIT_S
            )
    after = await asyncio.to_thread(reader.status)
    return Replayed(
        journals,
        settled,
        after.records - before.records,
        after.adjustments - before.adjustments,
        after.last_seq or 0,
        after.last_hash,
    )


def _looked(directory: Path, position: int, book: Reader) -> JournalReplay:
    figures = inspect(directory, position)
    reader = JournalReader(directory, position)
    ended = 0
    try:
        while closes := reader.closes(_BATCH, figures.last_seq):
            ended += len(closes)
    finally:
        reader.close()
    return JournalReplay(
        writer=directory.name,
        in_use=figures.in_use,
        after_seq=position,
        ended=ended,
        open=figures.open_exchanges,
        missing=reader.missing,
        unreadable=reader.undecodable,
        skipped_bytes=reader.skipped_bytes,
        stranger=stranger(directory, position, book),
    )
