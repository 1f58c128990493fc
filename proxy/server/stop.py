"""The wish to stop: the first call begins the drain, the second one cuts it short."""

from __future__ import annotations

import asyncio
import contextlib


class Stop:
    """Lives on the event loop. `by_hand`: Ctrl-C, so that no load balancer has to notice."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.by_hand = False
        self._hurry = asyncio.Event()

    @property
    def in_a_hurry(self) -> bool:
        return self._hurry.is_set()

    def ask(self, by_hand: bool = False) -> None:
        """Stop; called again, stop at once."""
        if self.asked.is_set():
            self._hurry.set()
        self.by_hand = by_hand
        self.asked.set()

    async def pause(self, seconds_s: float) -> None:
        """Sleep, unless the stop is in a hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds_s):
                await self._hurry.wait()
