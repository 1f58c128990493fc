"""Makes entries durable: one fdatasync round at a time, shared by all who wait for it.

A failed fdatasync may have dropped the written pages while calling them clean, so its segment is
never trusted again. Writing goes on in a fresh segment; the entries since the last good sync are
written into it once more. There is `trouble` until a round works there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from proxy.core.fault_points import FaultPoint
from proxy.journal.appender import Appender
from proxy.journal.disk import Disk
from proxy.journal.frames import START, scan
from proxy.journal.segments import Segment


class Syncer:
    """Lives on the event loop, and syncs in a thread.

    `rewrite(kind, payload)` writes an entry of a lost segment again, if it still matters.
    """

    def __init__(
        self,
        appender: Appender,
        disk: Disk,
        fail: FaultPoint,
        threads: Executor,
        rewrite: Callable[[int, bytes], None],
    ) -> None:
        self.synced_seq = -1  # nothing is known durable before the first round
        self.failures = 0
        self.trouble: str | None = None
        self._appender = appender
        self._disk = disk
        self._fail = fail
        self._threads = threads
        self._rewrite = rewrite
        self._left: list[Segment] = []  # left by the writer, not yet durable to their end
        self._lost: list[Segment] = []  # failed to sync, not yet written again
        self._round: asyncio.Future[bool] | None = None

    @property
    def due(self) -> bool:
        """Whether anything written is not yet durable."""
        return (
            bool(self._left)
            or bool(self._lost)
            or self._appender.segment.synced < self._appender.segment.position
        )

    def leave(self, segment: Segment) -> None:
        """A segment that the writer has left; it is closed when it is durable."""
        self._left.append(segment)

    def close(self) -> None:
        """Closes the segments that could not be made durable."""
        for segment in self._left:
            segment.close()

    async def join(self) -> bool:
        """Waits for the current round, or for a new one; whether it worked.

        An entry that is written during a round may not be in it.
        """
        if self._round is None or self._round.done():
            self._round = asyncio.ensure_future(self._run_round())
        return await asyncio.shield(self._round)

    async def _run_round(self) -> bool:
        if not self._rescue():
            return False
        left = list(self._left)
        segments = [*left, self._appender.segment]
        upto = [segment.position for segment in segments]
        seq = self._appender.position
        loop = asyncio.get_running_loop()
        errors = await loop.run_in_executor(
            self._threads, self._sync_all, [segment.fd for segment in segments]
        )
        for segment, position, error in zip(segments, upto, errors, strict=True):
            if error is None:
                segment.synced = position
            else:
                self.failures += 1
                self.trouble = f"the journal could not be synced to disk: {error}"
                self._lost.append(segment)
        if self._lost:
            self._rescue()
            return False
        for segment in left:
            self._left.remove(segment)
            segment.close()
        self.synced_seq = seq
        self.trouble = None
        return True

    def _sync_all(self, fds: Sequence[int]) -> list[OSError | None]:
        return [self._sync(fd) for fd in fds]

    def _sync(self, fd: int) -> OSError | None:
        try:
            self._fail("journal.sync.before")
            self._disk.fdatasync(fd)
            self._fail("journal.sync.after")
        except OSError as error:
            return error
        return None

    def _rescue(self) -> bool:
        """Writes the unsynced entries of lost segments again; False without a fresh segment."""
        while self._lost:
            segment = self._lost[0]
            if segment is self._appender.segment and not self._appender.roll():
                return False
            for kind, payload in self._unsynced(segment):
                self._rewrite(kind, payload)
            self._lost.pop(0)
            self._left.remove(segment)
            segment.close()
        return True

    def _unsynced(self, segment: Segment) -> list[tuple[int, bytes]]:
        try:
            data = segment.read_unsynced()
        except OSError:
            self.failures += 1
            return []
        return [(frame.kind, frame.payload(data)) for frame in scan(data) if frame.kind != START]
