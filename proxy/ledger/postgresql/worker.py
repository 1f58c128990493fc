"""The thread that a line is used on, for who awaits what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from proxy.system.daemon_threads import DaemonThreads

# Longer than any statement may take (`connection`); then the connection is ended. A middlebox can
# keep one open whose server is gone.
ANSWER_MAX_S: Final = 90.0

# At the end: what hangs then must not hold up the process. It is cut off, and left behind if that
# does not end it, as where a connection is being made. What it was to book is in the journal.
END_MAX_S: Final = 1.0
LEFT_BEHIND_S: Final = 0.3

_T = TypeVar("_T")


class Worker:
    """The thread that a line is used on. What takes too long is cut off by `cut`."""

    def __init__(self, cut: Callable[[], None], answer_max_s: float = ANSWER_MAX_S) -> None:
        self._cut = cut
        self._answer_max_s = answer_max_s
        self._thread = DaemonThreads(1, "ledger")
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
        """Do the last work and end the thread. What is still under way gets a moment."""
        self._answer_max_s = min(self._answer_max_s, END_MAX_S)
        ending = asyncio.create_task(self.done(last))
        try:
            if not (await asyncio.wait([ending], timeout=END_MAX_S))[0]:
                self._cut()
                await asyncio.wait([ending], timeout=LEFT_BEHIND_S)
            if ending.done():
                ending.result()
        finally:
            ending.cancel()
            self._thread.shutdown()


def _seen(future: asyncio.Future[_T]) -> None:
    """Take note of an error, also where nobody waits for it any more."""
    if not future.cancelled():
        future.exception()
