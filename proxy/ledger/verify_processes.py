"""Processes that verify shares of a book at once, each with a reader of its own.

Python hashes one record at a time in a process, so that threads gain nothing there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from proxy.ledger.reading import Reader
from proxy.ledger.verification import VerifyStep

STEPS: Final = 8  # that a process takes before it tells of them: some tenths of a second


class Processes:
    """See `Workers`. `opened` makes a reader, also in another process: it must be picklable."""

    def __init__(self, opened: Callable[[], Reader], key_file: Path | None, count: int) -> None:
        self._opened, self._key_file, self._count = opened, key_file, count
        self._reader = opened()
        # A forked process would have the connections of this one.
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
        )

    def shares(self, part: str) -> Sequence[str | None]:
        """See `Workers.shares`."""
        return self._reader.verify_shares(part, self._count, self._key_file)

    def steps(self, part: str, place: str | None) -> Future[Sequence[VerifyStep]]:
        """See `Workers.steps`."""
        return self._pool.submit(_steps, self._opened, part, place, self._key_file)

    def stop(self) -> None:
        """See `Workers.stop`."""
        if self._pool._broken:
            # One that was killed may have held the queue's lock: others wait for it for good.
            for process in list((self._pool._processes or {}).values()):
                process.kill()
        self._pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Make this process end with its parent, however that ends."""
    # Ctrl-C reaches all processes of a terminal. The first one then stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = multiprocessing.parent_process()
    assert first is not None, "a parent began it"
    # Each of these processes holds the queue of tasks open, so that none sees it end.
    threading.Thread(target=_end_behind, args=(first,), daemon=True).start()


def _end_behind(first: BaseProcess) -> None:
    first.join()
    os._exit(1)


def _steps(
    opened: Callable[[], Reader], part: str, place: str | None, key_file: Path | None
) -> Sequence[VerifyStep]:
    reader = opened()  # it reads nothing before it is asked
    found = [reader.verify_step(part, place, key_file)]
    while found[-1].next is not None and len(found) < STEPS:
        found.append(reader.verify_step(part, found[-1].next, key_file))
    return found
