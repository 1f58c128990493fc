"""The parts that run beside the requests: journal, recorder, counter and the watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

LOG = logging.getLogger("tollkeeper.server")


class Tasks:
    """Each task runs until `cancel`. If one fails, `failed` is called.

    The process must not run on without it.
    """

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[object]] = set()

    def spawn(self, work: Coroutine[None, None, object], name: str) -> asyncio.Task[object]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel(self) -> None:
        """End all of them. May be called again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.critical("the %s failed; the process stops", task.get_name(), exc_info=error)
            self._failed()
