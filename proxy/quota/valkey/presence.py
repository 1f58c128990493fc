"""This process' word to the others that share the store: it lives. And what silent ones hold.

The server's clock decides who is silent. The slots of a silent process are free, since a dead one
has no requests under way; all else that it holds stays held until its journal is booked. One that
was only paused takes its slots again, above the limit if need be.
"""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.core.ids import made_at_ms
from proxy.quota import QuotaUnavailable, SilentHolds
from proxy.quota.valkey.calls import Calls

BEAT_S: Final = 1.0
LOOK_EVERY: Final = 5  # beats between two looks at what silent ones hold


class Presence:
    """Beats until it is closed. `silent` is what was seen last."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._task: asyncio.Task[None] | None = None
        self.silent = SilentHolds()

    def begin(self) -> None:
        """Beat from now on."""
        self._task = asyncio.create_task(self._run(), name="quota-presence")

    async def aclose(self) -> None:
        """Say nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def beat(self) -> None:
        """Say that this process lives, and free the slots of silent ones. Some holds in a call.

        Raises QuotaUnavailable.
        """
        while (await self._calls.ask(b"alive", ()))[2]:
            pass

    async def look(self) -> None:
        """See what silent ones hold. Raises QuotaUnavailable."""
        _, now_ms, count, oldest = await self._calls.ask(b"silent", ())
        age_ms = now_ms - made_at_ms(oldest.decode()) if count else 0
        self.silent = SilentHolds(count, max(age_ms, 0))

    async def _run(self) -> None:
        beats = 0
        while True:
            try:
                await self.beat()
                if beats % LOOK_EVERY == 0:
                    await self.look()
                beats += 1
            except QuotaUnavailable:
                pass  # what it knows stays until it is back
            await asyncio.sleep(BEAT_S)
