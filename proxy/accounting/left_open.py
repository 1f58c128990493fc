"""What an earlier life of a journal left: damage, entries to write again, and what is booked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from proxy.accounting.retries import Retries
from proxy.core.records.settlement import FORGOTTEN
from proxy.core.usage import UsageRecord
from proxy.journal import JournalReader, Recovered
from proxy.ledger import BATCH_MAX, Ledger

_LOG = logging.getLogger("tollkeeper.recorder")


def tell_skipped(directory: Path, found: Recovered) -> None:
    """Say in the log what of a journal cannot be read."""
    if found.skipped_bytes:
        _LOG.error(
            "%d damaged bytes in %s were passed over; the first at %s",
            found.skipped_bytes,
            directory,
            found.skipped[0] if found.skipped else "?",
        )
    if found.unopened:
        _LOG.error(
            "%d exchanges in %s cannot be charged: their openings are damaged",
            found.unopened,
            directory,
        )


def tell_damage(directory: Path, before: tuple[int, int, int], now: tuple[int, int, int]) -> int:
    """Say in the log what of a journal could not be read since the last look.

    Both are sums of unreadable records, missing entries and bytes passed over. Returns how many
    records are lost to the bill.
    """
    if now == before:
        return 0
    undecodable, missing, skipped_bytes = (
        later - earlier for later, earlier in zip(now, before, strict=True)
    )
    _LOG.error(
        "the journal in %s is damaged:"
        " %d records unreadable, %d entries missing, %d bytes passed over",
        directory,
        undecodable,
        missing,
        skipped_bytes,
    )
    return undecodable


def closed_between(directory: Path, after_seq: int, upto_seq: int) -> Iterator[UsageRecord]:
    """The records that a journal closed in this part of it. Blocks. Raises OSError."""
    reader = JournalReader(directory, after_seq)
    try:
        while closes := reader.closes(BATCH_MAX, upto_seq):
            for _, record in closes:
                yield record
    finally:
        reader.close()


async def count_closed(directory: Path, after_seq: int, upto_seq: int, retries: Retries) -> int:
    """How many records the journal closed in this part of it."""

    def counted() -> int:
        return sum(1 for _ in closed_between(directory, after_seq, upto_seq))

    return await retries.until_done(lambda: asyncio.to_thread(counted))


def tell_set_back(lost: int, writer: str) -> None:
    """Say in the log that the ledger lacks so many records of a journal that it had confirmed."""
    _LOG.error(
        "the ledger has lost what it had confirmed, as after a failover: %d records of the"
        " journal %r are booked again",
        lost,
        writer,
    )


async def booked_already(
    ledger: Ledger, ids: Sequence[str], retries: Retries
) -> dict[str, UsageRecord]:
    """What the ledger has of exchanges that the journal shows open, but without the forgotten.

    A power cut can take the end of an exchange from the journal and leave its record in the
    ledger, since each file is synced at its own time. What was marked knows less than it.
    """
    booked: dict[str, UsageRecord] = {}
    for start in range(0, len(ids), ledger.batch_max):
        part = ids[start : start + ledger.batch_max]
        booked |= await retries.until_done(partial(ledger.stored, part))
    return {id: record for id, record in booked.items() if record.origin != FORGOTTEN}
