"""Takes over the journals of processes that are gone: settles and books what they left.

A journal is taken by its lock, so one process wins, and its owner waits if it comes back meanwhile.
What the process still holds elsewhere is ended while the lock is held: until then nobody goes on
under its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.core.pricing.amounts import Pricing
from proxy.journal import Journal, JournalOptions, JournalUnavailable, claimable
from proxy.ledger import Ledger, LedgerUnavailable
from proxy.metrics.collector import Metrics

_LOG = logging.getLogger("tollkeeper.recorder")


class Adoption(msgspec.Struct, frozen=True):
    """When a journal is taken over, and what follows.

    wanted · tells by its name whether it is to be taken    may_take · asked once its lock is held;
    False leaves it as it is    settled · called once all of it is booked, while the lock is held
    """

    wanted: Callable[[str], bool]
    may_take: Callable[[str], Awaitable[bool]]
    settled: Callable[[str], Awaitable[None]]


async def _yes(name: str) -> bool:
    return True


async def _no_more(name: str) -> None:
    """Nothing follows."""


ALL: Final = Adoption(lambda name: True, _yes, _no_more)


async def adopt_others(
    root: Path,
    options: JournalOptions,
    ledger: Ledger,
    metrics: Metrics,
    pricing: Pricing,
    *,
    timeout_s: float,
    terms: Adoption = ALL,
) -> int:
    """Settle and book what dead processes left in their journals under `root`.

    Returns the number of records made. A directory that a living process holds is left alone. One
    that cannot be taken over, or not be booked in time, stays as it is: it can be taken again.
    """
    settled = 0
    try:
        directories = await asyncio.to_thread(claimable, root)
    except OSError as error:
        _LOG.error("what other processes left in %s cannot be looked at: %s", root, error)
        return 0
    for directory in directories:
        if not terms.wanted(directory.name):
            continue
        try:
            settled += await adopt(directory, options, ledger, metrics, pricing, timeout_s, terms)
        except (JournalUnavailable, OSError) as error:
            _LOG.error("%s stays as it is until the next look: %s", directory, error)
        except Exception:  # a stranger's directory must not keep this process from its own work
            _LOG.exception("%s stays as it is until the next look", directory)
    return settled


async def adopt(
    directory: Path,
    options: JournalOptions,
    ledger: Ledger,
    metrics: Metrics,
    pricing: Pricing,
    timeout_s: float,
    terms: Adoption = ALL,
) -> int:
    """Settle and book what a dead process left in one journal; the number of records made.

    One that a living process holds is left alone. Raises JournalUnavailable, OSError.
    """
    journal = await asyncio.to_thread(Journal.adopt, directory, options)
    if journal is None:
        return 0
    name = directory.name
    try:
        if not await terms.may_take(name):
            return 0
        recorder = Recorder(journal, ledger, metrics, EndUsers("off", b"", {}), pricing)
        settled = await recorder.recover()
        running = asyncio.create_task(recorder.run())
        try:
            booked = await recorder.drain(timeout_s)
        finally:
            running.cancel()
            await asyncio.wait([running])
        if booked:
            await terms.settled(name)
    finally:
        # A connection that is lost holds the name no more either.
        with contextlib.suppress(LedgerUnavailable):
            await ledger.release(name)
        await journal.aclose()
    return settled
