"""How many processes share the ledger, by their state."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.sharing import InstanceState, Sharing
from proxy.metrics.families import Families

ANSWER_MAX_S: Final = 5.0  # as for `spend`
_SHOWN: Final = (InstanceState.LIVE, InstanceState.LEFT, InstanceState.LAPSED)


class InstanceStates:
    """Asks the database in `refresh`, before a page; without an answer there is no sample.

    `sharing` None: this process has the ledger alone.
    """

    def __init__(self, sharing: Sharing | None) -> None:
        self._sharing = sharing
        self._counts: Counter[InstanceState] | None = (
            Counter({InstanceState.LIVE: 1}) if sharing is None else None
        )

    async def refresh(self) -> None:
        """Ask anew."""
        if self._sharing is None:
            return
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                found = await self._sharing.instances()
        except (LedgerError, LedgerUnavailable, TimeoutError):
            self._counts = None
        else:
            self._counts = Counter(one.state for one in found)

    def collect(self, families: Families) -> None:
        """Add what was answered last, in the scrape's thread."""
        counts = self._counts
        if counts is not None:
            for state in _SHOWN:
                families.add("instances", [state.value], counts[state])
