"""Threads for work that may wait for another machine, and must not hold up the process' end.

The interpreter waits for the threads of a `ThreadPoolExecutor` before it ends, also for one that
waits for a server that says nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaemonThreads(Executor):
    """At most so many threads, begun as they are needed; they end with the process."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._begun = 0
        self._lock = threading.Lock()
        self._is_shut = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a thread call it. Raises RuntimeError after `shutdown`."""
        future: Future[_T] = Future()
        with self._lock:
            if self._is_shut:
                raise RuntimeError(f"the threads {self._name} are shut down")
            self._tasks.put((future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False) and self._begun < self._most:
                self._begun += 1
                name = f"{self._name}_{self._begun}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Let the threads end behind what is submitted; nothing waits for them."""
        with self._lock:
            if not self._is_shut:
                self._is_shut = True
                self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, work = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            # What was asked and answered is not kept until the next task.
            del task, future, work
            self._idle.release()
        self._tasks.put(None)  # for the next thread
