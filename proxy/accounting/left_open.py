"""What an earlier life of a journal left: damage to tell of, and entries to write again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from proxy.core.usage import UsageRecord
from proxy.journal import JournalReader, Recovered
from proxy.ledger import BATCH_MAX

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


def closed_between(directory: Path, after_seq: int, upto_seq: int) -> Iterator[UsageRecord]:
    """The records that a journal closed in this part of it. Blocks. Raises OSError."""
    reader = JournalReader(directory, after_seq)
    try:
        while closes := reader.closes(BATCH_MAX, upto_seq):
            for _, record in closes:
                yield record
    finally:
        reader.close()
