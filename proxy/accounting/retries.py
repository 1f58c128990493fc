"""Tries again until the ledger and the journal's files take it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.ledger import LedgerUnavailable

BACK_OFF_S = (0.05, 5.0)  # after a failure: the first wait, doubled up to the second
TELL_EVERY_S = 60.0  # a lasting failure is logged again after this long

_LOG = logging.getLogger("tollkeeper.recorder")
_T = TypeVar("_T")


class Retries:
    """Attempts one after the other, so that nothing overtakes and the order is kept.

    `backlog` says how many records wait, for the log. `failures` counts what was refused.
    """

    def __init__(self, backlog: Callable[[], int]) -> None:
        self._backlog = backlog
        self.failures = 0

    async def until_done(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """What the first attempt that works returns; the wait between them grows."""
        wait_s, longest_s = BACK_OFF_S
        told_s: float | None = None
        while True:
            try:
                done = await attempt()
            except (LedgerUnavailable, OSError) as error:
                self.failures += 1
                if told_s is None or time.monotonic() - told_s >= TELL_EVERY_S:
                    told_s = time.monotonic()
                    _LOG.error(
                        "%d records wait and cannot be booked now; trying on: %s",
                        self._backlog(),
                        error,
                    )
            else:
                if told_s is not None:
                    _LOG.warning("records are booked again")
                return done
            await asyncio.sleep(wait_s)
            wait_s = min(longest_s, 2 * wait_s)
