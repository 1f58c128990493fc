"""Looks at the newest part of the book at a start, and says in the log whether it is sound."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from proxy.ledger import LedgerError, LedgerUnavailable, Reader
from proxy.ledger.verification import NEWEST

FLAWS_TOLD: Final = 3  # a forged book has thousands, and a log line each would hide the rest

LOG = logging.getLogger("tollkeeper.server")


async def check_newest(reader: Reader, key_file: Path) -> None:
    """Say whether the last sealed batches and their roll-ups are as they were written.

    A flaw keeps nobody from serving: what is booked from now on is sound.
    """
    try:
        found = await asyncio.to_thread(reader.verify_step, NEWEST, None, key_file)
    except (LedgerError, LedgerUnavailable) as error:
        LOG.warning("the newest part of the ledger could not be checked: %s", error)
        return
    if not found.found:
        LOG.info("the newest %d records and their roll-ups are as they were written", found.rows)
        return
    for flaw in found.findings[:FLAWS_TOLD]:
        LOG.error("the ledger was changed: %s", flaw.what)
    LOG.error(
        "the ledger has %d flaws in its newest part: `tollkeeper ledger verify` says more,"
        " and docs/book.md what to do",
        found.found,
    )
