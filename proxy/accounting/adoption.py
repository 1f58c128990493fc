"""Takes over the journals of processes that are gone: settles and books what they left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.core.pricing.amounts import Pricing
from proxy.journal import Journal, JournalOptions, JournalUnavailable, claimable
from proxy.ledger import Ledger
from proxy.metrics.collector import Metrics

_LOG = logging.getLogger("tollkeeper.recorder")


async def adopt_others(
    root: Path,
    options: JournalOptions,
    ledger: Ledger,
    metrics: Metrics,
    pricing: Pricing,
    *,
    timeout_s: float,
    kept: Collection[str] = (),
) -> int:
    """Settle and book what dead processes left in their journals under `root`.

    Returns the number of records made. A directory that a living process holds is left alone. One
    of the names in `kept` belongs to a process that starts or comes back by itself. One
    that cannot be taken over, or not be booked in time, waits for the next start.
    """
    settled = 0
    try:
        directories = await asyncio.to_thread(claimable, root)
    except OSError as error:
        _LOG.error("what other processes left in %s cannot be looked at: %s", root, error)
        return 0
    for directory in directories:
        if directory.name in kept:
            continue
        try:
            settled += await adopt(directory, options, ledger, metrics, pricing, timeout_s)
        except (JournalUnavailable, OSError) as error:
            _LOG.error("%s stays as it is until the next start: %s", directory, error)
        except Exception:  # a stranger's directory must not keep this process from its own work
            _LOG.exception("%s stays as it is until the next start", directory)
    return settled


async def adopt(
    directory: Path,
    options: JournalOptions,
    ledger: Ledger,
    metrics: Metrics,
    pricing: Pricing,
    timeout_s: float,
) -> int:
    """Settle and book what a dead process left in one journal; the number of records made.

    One that a living process holds is left alone. Raises JournalUnavailable, OSError.
    """
    journal = await asyncio.to_thread(Journal.adopt, directory, options)
    if journal is None:
        return 0
    try:
        recorder = Recorder(journal, ledger, metrics, EndUsers("off", b"", {}), pricing)
        settled = await recorder.recover()
        running = asyncio.create_task(recorder.run())
        try:
            await recorder.drain(timeout_s)
        finally:
            running.cancel()
            await asyncio.wait([running])
    finally:
        await journal.aclose()
    return settled
