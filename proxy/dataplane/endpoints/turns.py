"""Who may read the book now: each caller one thing at a time, and not too many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary


class Turns:
    """At most `at_once` turns are taken at a time, and one of each caller.

    A caller that asks for more waits for itself alone.
    """

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, caller: str) -> AsyncIterator[None]:
        """Waits for the caller's turn, which lasts until the block ends."""
        own = self._own.get(caller)
        if own is None:
            own = self._own[caller] = asyncio.Lock()
        async with own, self._places:
            yield
