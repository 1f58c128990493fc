"""The journal's two loops beside the writing: one makes durable and repairs, the other keeps house. Idle, they sleep."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.journal.housekeeping import Housekeeping
from proxy.journal.options import JournalOptions
from proxy.journal.syncing import Syncer
from proxy.journal.tape import Tape

REPAIR_PAUSE_S: Final = 0.1      # between two tries on a disk that refuses; doubles up to
REPAIR_PAUSE_MAX_S: Final = 5.0
TIDY_S: Final = 1.0              # between two looks for segments that became done or old


class Upkeep:
    """Lives on the event loop. `awake` says that a sync is coming anyway: the writer need not ask for one."""

    def __init__(self, tape: Tape, syncer: Syncer, house: Housekeeping, options: JournalOptions) -> None:
        self.awake = True
        self.booked_seq = 0
        self._tape = tape
        self._syncer = syncer
        self._house = house
        self._interval_s = options.interval_s
        self._sync_wanted = asyncio.Event()
        self._sync_wanted.set()
        self._tidy_wanted = asyncio.Event()
        self._tidy_wanted.set()
        self._closing = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()

    def nudge(self) -> None:
        """Something was written, or could not be."""
        self.awake = True
        self._sync_wanted.set()

    def tidy_soon(self) -> None:
        """A spare segment is wanted."""
        self._tidy_wanted.set()

    async def run(self) -> None:
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_synced())
                tasks.create_task(self._keep_tidy())
        finally:
            self._stopped.set()

    async def aclose(self) -> None:
        """Ends `run`; then a last repair and sync."""
        self._closing.set()
        self._sync_wanted.set()
        self._tidy_wanted.set()
        await self._stopped.wait()
        if self._tape.broken is not None:
            self._tape.repair()
        if self._syncer.due and not await self._syncer.join():
            await self._syncer.join()

    async def _keep_synced(self) -> None:
        pause_s = REPAIR_PAUSE_S
        while not self._closing.is_set():
            await self._sync_wanted.wait()
            await self._pause(self._interval_s)
            self._sync_wanted.clear()
            self.awake = False
            if self._tape.broken is not None:
                self._tape.repair()
            if self._syncer.due or self._syncer.trouble is not None:
                await self._syncer.join()
            if self._tape.broken is None and self._syncer.trouble is None:
                pause_s = REPAIR_PAUSE_S
            else:
                self.nudge()
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, REPAIR_PAUSE_MAX_S)

    async def _keep_tidy(self) -> None:
        while not self._closing.is_set():
            self._tidy_wanted.clear()
            await self._house.prepare()
            await self._house.tidy(self.booked_seq, self._syncer.synced_seq)
            if self._syncer.due and not self.awake:
                self.nudge()
            if self._house.full is not None:
                await self._pause(TIDY_S)
                continue
            try:
                async with asyncio.timeout(TIDY_S):
                    await self._tidy_wanted.wait()
            except TimeoutError:
                pass

    async def _pause(self, seconds_s: float) -> None:
        try:
            async with asyncio.timeout(seconds_s):
                await self._closing.wait()
        except TimeoutError:
            pass
