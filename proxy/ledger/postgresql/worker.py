"""The thread that a line is used on, for who awaits what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

# Longer than any statement may take (`connection`); then the connection is ended. A middlebox can
# keep one open whose server is gone.
ANSWER_MAX_S: Final = 90.0

END_MAX_S: Final = 5.0  # at the end: what hangs then must not hold up the process

_T = TypeVar("_T")


class Worker:
    """The thread that a line is used on. What takes too long is cut off by `cut`."""

    def __init__(self, cut: Callable[[], None], answer_max_s: float = ANSWER_MAX_S) -> None:
        self._cut = cut
        self._answer_max_s = answer_max_s
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._turn = asyncio.Lock()

    async def done(self, work: Callable[[], _T], *, patient: bool = False) -> _T:
        """What the work returns or raises. If who asks is cancelled, the work still ends.

        `patient`: it is not cut off
        """
        async with self._turn:
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
            future.add_done_callback(_seen)
            answer_max_s = None if patient else self._answer_max_s
            while not (await asyncio.wait([future], timeout=answer_max_s))[0]:
                self._cut()
            return future.result()

    async def close(self, last: Callable[[], None]) -> None:
        """Do the last work and end the thread. What is still under way gets a few seconds."""
        self._answer_max_s = min(self._answer_max_s, END_MAX_S)
        try:
            await self.done(last)
        finally:
            self._thread.shutdown(wait=False)


def _seen(future: asyncio.Future[_T]) -> None:
    """Take note of an error, also where nobody waits for it any more."""
    if not future.cancelled():
        future.exception()
