"""Three loops beside the writing: one syncs and repairs, one keeps house, one looks.

The first two sleep when there is nothing to do. The third looks five times a second whether the
files are still there, so that a busy machine notices it within a second too. Keeping house means:
make spare segments ready, compress those that are done, drop the old ones, and keep the whole
within its bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from proxy.core.fault_points import FaultPoint
from proxy.journal.appender import Appender, WriteFailed
from proxy.journal.frames import HEADER_BYTES, MARK, OPEN
from proxy.journal.open_exchanges import OpenExchanges
from proxy.journal.options import JournalOptions
from proxy.journal.retention import Retention, compress, delete
from proxy.journal.segments import Segment
from proxy.journal.syncing import Syncer

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

REPAIR_PAUSE_S: Final = 0.1  # between two tries on a disk that refuses; doubles up to
REPAIR_PAUSE_MAX_S: Final = 5.0
LOOK_S: Final = 0.2  # between two looks whether a file was removed or replaced
TIDY_S: Final = 1.0  # between two looks for segments that became done or old
# segments that wait behind one with long exchanges before these are written again
CARRY_BEHIND: Final = 4
CARRY_AT_ONCE: Final = 50  # of them between two turns of the event loop: under a millisecond


class Maintenance:
    """Lives on the event loop. `awake`: a sync is coming, and the writer need not ask for one."""

    def __init__(
        self,
        appender: Appender,
        syncer: Syncer,
        house: Housekeeping,
        options: JournalOptions,
        look: Callable[[], None],
    ) -> None:
        self.awake = True
        self.booked_seq = 0
        self._appender = appender
        self._syncer = syncer
        self._house = house
        self._look = look
        self._interval_s = options.interval_s
        self._sync_wanted = asyncio.Event()
        self._sync_wanted.set()
        self._tidy_wanted = asyncio.Event()
        self._tidy_wanted.set()
        self._closing = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()

    def nudge(self) -> None:
        """An entry was written, or could not be."""
        self.awake = True
        self._sync_wanted.set()

    def booked(self, seq: int) -> None:
        """The ledger has all closes up to `seq`."""
        self.booked_seq = max(self.booked_seq, seq)

    def tidy_soon(self) -> None:
        """A spare segment is wanted."""
        self._tidy_wanted.set()

    async def run(self) -> None:
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_synced())
                tasks.create_task(self._keep_tidy())
                tasks.create_task(self._keep_looking())
        finally:
            self._stopped.set()

    async def aclose(self) -> None:
        """Ends `run`; then a last repair and sync."""
        self._closing.set()
        self._sync_wanted.set()
        self._tidy_wanted.set()
        await self._stopped.wait()
        if self._appender.broken is not None:
            self._appender.repair()
        if self._syncer.due and not await self._syncer.join():
            await self._syncer.join()

    async def _keep_synced(self) -> None:
        pause_s = REPAIR_PAUSE_S
        while not self._closing.is_set():
            await self._sync_wanted.wait()
            await self._pause(self._interval_s)
            self._sync_wanted.clear()
            self.awake = False
            if self._appender.broken is not None:
                self._appender.repair()
            if self._syncer.due or self._syncer.trouble is not None:
                await self._syncer.join()
            if self._appender.broken is None and self._syncer.trouble is None:
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

    async def _keep_looking(self) -> None:
        while not self._closing.is_set():
            self._look()
            await self._pause(LOOK_S)

    async def _pause(self, seconds_s: float) -> None:
        try:
            async with asyncio.timeout(seconds_s):
                await self._closing.wait()
        except TimeoutError:
            pass


class Housekeeping:
    """Lives on the event loop; long work runs in a thread. `full` says why there is no spare."""

    def __init__(
        self,
        appender: Appender,
        retention: Retention,
        openings: OpenExchanges,
        options: JournalOptions,
        fail: FaultPoint,
        threads: Executor,
    ) -> None:
        self.full: str | None = None
        self.failures = 0
        self._appender = appender
        self._retention = retention
        self._openings = openings
        self._options = options
        self._segment_bytes = options.segment_bytes_used
        # a spare is made ready when less room than this is free
        self.low_room = self._segment_bytes // 2
        self._fail = fail
        self._threads = threads
        self._making = 0  # segments being made in the thread

    @property
    def bytes_on_disk(self) -> int:
        return self._appender.bytes_on_disk + self._retention.bytes_on_disk

    def grow(self, need: int) -> bool:
        """Makes a spare at once, for an opening that the thread was too slow for.

        False if the room still is less than `need`.
        """
        if self.full is None:
            surplus = self._surplus()
            if surplus is not None:
                try:
                    delete(surplus, self._fail)
                    self._appender.add_spare(self._appender.create(self._appender.take_number()))
                except OSError as error:
                    self._refused(error)
        return self._appender.room - self._openings.kept >= need

    async def prepare(self) -> None:
        """Makes spares until there is room enough, or no more can be had."""
        while (
            self._appender.spares == 0 or self._appender.room - self._openings.kept < self.low_room
        ):
            surplus = self._surplus()
            if surplus is None:
                return
            number = self._appender.take_number()
            self._making += 1
            try:
                await self._in_thread(delete, surplus, self._fail)
                segment: Segment = await self._in_thread(self._appender.create, number)
            except OSError as error:
                self._refused(error)
                return
            finally:
                self._making -= 1
            self._appender.add_spare(segment)
            self.full = None

    async def tidy(self, booked_seq: int, synced_seq: int) -> None:
        """Compresses done segments and drops old ones."""
        if self._appender.broken is None:  # else the ends of exchanges may be in memory only
            self._retention.sort_out(booked_seq, self._appender.position, synced_seq)
            held_up = self._retention.held_up(CARRY_BEHIND)
            if held_up is not None:
                await self._carry(held_up)
        try:
            while (segment := self._retention.take_done()) is not None:
                await self._finish(segment)
            expired = self._retention.take_expired(time.time() - self._options.keep_s)
            if expired:
                await self._in_thread(delete, expired, self._fail)
        except OSError:
            self.failures += 1

    async def _carry(self, segment: Segment) -> None:
        """Writes the open exchanges of an old segment again, into the current one.

        The old segment is no longer needed then.
        """
        for number, opening in enumerate(self._openings.in_segment(segment), 1):
            size = (
                2 * HEADER_BYTES
                + len(opening.opened)
                + (0 if opening.mark is None else len(opening.mark))
            )
            if opening.segment is None:
                continue  # it ended meanwhile
            if self._appender.room - self._openings.kept < size:
                return
            try:
                self._appender.put(OPEN, opening.opened)
                # the mark may come into a later one, which outlasts it
                into = self._appender.segment
                if opening.mark is not None:
                    self._appender.put(MARK, opening.mark)
            except WriteFailed:
                return
            self._openings.move(opening, into)
            if number % CARRY_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _finish(self, segment: Segment) -> None:
        try:
            if self._options.keep_s <= 0:
                await self._in_thread(delete, [segment.path], self._fail)
                finished = None
            else:
                finished = await self._in_thread(compress, segment, self._fail)
        except BaseException:
            self._retention.put_back()
            raise
        self._retention.finish(finished)

    def _surplus(self) -> list[Path] | None:
        """Segments to delete, so that one more fits within the bound.

        None if too little is done; `full` says so then.
        """
        excess = (
            self.bytes_on_disk
            + (self._making + 1) * self._segment_bytes
            - self._options.size_max_bytes
        )
        if excess <= 0:
            return []
        surplus = self._retention.take_surplus(excess)
        if surplus is None:
            self.full = (
                f"the journal has reached journal.size_max ({self._options.size_max_bytes} bytes),"
                " and nothing in it is booked yet that could go"
            )
        return surplus

    def _refused(self, error: OSError) -> None:
        self.failures += 1
        self.full = f"no room for another journal segment: {error}"

    async def _in_thread(self, work: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
