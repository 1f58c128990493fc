"""The journal of one process: each exchange is in it before its first byte leaves.

Its record is in it before its last byte arrives. `open`, `mark`, `close` and `void` are one
pwrite(2) each on the event loop, with no thread in between; everything that can wait is in `run`.
The journal keeps room for the close and some marks of each open exchange before it admits it, so
that an ending never depends on luck.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import msgspec

from proxy.core.entries import Marked, Opened, Voided
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.usage import UsageRecord
from proxy.journal.appender import WRITE_BOUNDS_S, Appender, WriteFailed
from proxy.journal.codec import ANSWER_BYTES_MAX, OPEN_BYTES_MAX, encode_close, encode_entry, id_of
from proxy.journal.disk import Disk, SystemDisk
from proxy.journal.files_in_use import FilesInUse
from proxy.journal.frames import (
    CLOSE,
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    MARK,
    OPEN,
    PAYLOAD_BYTES_MAX,
    VOID,
)
from proxy.journal.lock import LOCK, claim_first, claim_named, lock_to_adopt
from proxy.journal.maintenance import Housekeeping, Maintenance
from proxy.journal.open_exchanges import OpenExchange, OpenExchanges
from proxy.journal.options import JournalOptions
from proxy.journal.recovery import (
    Recovered,
    clear_leftovers,
    number_after,
    recovered,
    scan_directory,
    take_over,
)
from proxy.journal.retention import Retention
from proxy.journal.segments import Segment
from proxy.journal.syncing import Syncer
from proxy.journal.unbooked import Unbooked

# about eight marks, 4,000 tokens, can follow on a full disk; more need free room
MARKS_ROOM_BYTES: Final = 2048
_READY_ROOM_BYTES: Final = 2 * FRAME_BYTES_MAX
_REASON_CHARS_MAX: Final = 200


class JournalUnavailable(Exception):
    """The journal cannot take what was to be written; the message says why. Nothing was written."""

    @property
    def reason(self) -> str:
        return str(self)


class Journal:
    """Lives on the event loop. `claim` or `adopt` makes one; `run` must run beside its use."""

    def __init__(
        self,
        directory: Path,
        lock_fd: int,
        options: JournalOptions,
        fail: FaultPoint,
        disk: Disk,
    ) -> None:
        """Takes over a locked directory. Blocking. Raises OSError."""
        self.directory = directory
        self.writer = directory.name
        self._lock_fd = lock_fd
        self._options = options
        clear_leftovers(directory)
        found = scan_directory(directory)
        self._recovered = recovered(found)
        # One syncs, one keeps house.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="journal")
        self._retention = Retention()
        self._openings = OpenExchanges()
        self.oldest_open_ms = self._openings.oldest_ms
        take_over(found, self._retention, self._openings, disk)
        self._appender = Appender(
            directory,
            options.segment_bytes_used,
            disk,
            fail,
            number=number_after(found),
            seq=found.last_seq,
            leave=self._leave,
        )
        self.unbooked = Unbooked(found.last_seq)
        self._house = Housekeeping(
            self._appender, self._retention, self._openings, options, fail, self._threads
        )
        self._syncer = Syncer(self._appender, disk, fail, self._threads, self._rewrite)
        self._low_room = self._house.low_room
        self._files = FilesInUse()
        self._maintenance = Maintenance(
            self._appender, self._syncer, self._house, options, self._look
        )

    @classmethod
    def claim(
        cls,
        root: Path,
        options: JournalOptions,
        fail: FaultPoint = no_fault,
        *,
        disk: Disk | None = None,
        name: str | None = None,
    ) -> Self:
        """The first writer directory under `root` that no process holds, for this process's life.

        `name`: the directory of this name and no other. `take_recovered` has the exchanges that a
        dead process left open in it. Blocking. Raises JournalUnavailable.
        """
        try:
            directory, lock_fd = claim_first(root) if name is None else claim_named(root, name)
        except OSError as error:
            raise JournalUnavailable(f"no journal can be kept under {root}: {error}") from error
        return cls._take(directory, lock_fd, options, fail, disk)

    @classmethod
    def adopt(
        cls,
        directory: Path,
        options: JournalOptions,
        fail: FaultPoint = no_fault,
        *,
        disk: Disk | None = None,
    ) -> Self | None:
        """Another writer's directory, to end and book its open exchanges; None if it is held.

        Blocking. Raises JournalUnavailable.
        """
        try:
            lock_fd = lock_to_adopt(directory)
        except OSError as error:
            raise JournalUnavailable(
                f"the journal in {directory} cannot be taken over: {error}"
            ) from error
        return None if lock_fd is None else cls._take(directory, lock_fd, options, fail, disk)

    @classmethod
    def _take(
        cls,
        directory: Path,
        lock_fd: int,
        options: JournalOptions,
        fail: FaultPoint,
        disk: Disk | None,
    ) -> Self:
        try:
            return cls(
                directory, lock_fd, options, fail, disk if disk is not None else SystemDisk()
            )
        except OSError as error:
            os.close(lock_fd)
            raise JournalUnavailable(
                f"the journal in {directory} cannot be written: {error}"
            ) from error
        except BaseException:
            os.close(lock_fd)
            raise

    # The entries.

    def open(self, opened: Opened) -> None:
        """Admits an exchange. Raises JournalUnavailable; nothing may be sent for it then."""
        trouble = self._files.gone or self._syncer.trouble
        if trouble is not None:
            raise JournalUnavailable(trouble)
        payload = encode_entry(opened)
        if len(payload) > OPEN_BYTES_MAX:
            raise JournalUnavailable(
                f"the exchange's names take {len(payload)} bytes, more than {OPEN_BYTES_MAX}"
            )
        size = HEADER_BYTES + len(payload)
        close_room = size + ANSWER_BYTES_MAX
        need = size + close_room + MARKS_ROOM_BYTES
        appender = self._appender
        free = appender.room - self._openings.kept
        if free < self._low_room:
            self._maintenance.tidy_soon()
            if free < need and not self._house.grow(need):
                raise JournalUnavailable(self._house.full or "the journal has no room left")
        try:
            appender.put(OPEN, payload)
        except WriteFailed as error:
            if error.uncertain:
                # Recovery must not take a refused opening for an exchange.
                appender.put(
                    VOID,
                    encode_entry(Voided(id=opened.id, reason="the opening could not be written")),
                    keep=True,
                )
            raise self._unwritable(error) from error
        self._openings.add(
            opened.id, OpenExchange(payload, close_room, MARKS_ROOM_BYTES, appender.segment)
        )
        if not self._maintenance.awake:
            self._maintenance.nudge()

    def mark(self, marked: Marked) -> None:
        """Says how far an open exchange may now be delivered.

        Raises JournalUnavailable; it must not be delivered that far then. Each mark repeats all
        that still holds of the marks before it: only the last one is written again when its segment
        goes.
        """
        opening = self._openings.get(marked.id)
        assert opening is not None, "only an open exchange is marked"
        payload = encode_entry(marked)
        size = HEADER_BYTES + len(payload)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise JournalUnavailable(
                f"a mark takes {len(payload)} bytes, more than {PAYLOAD_BYTES_MAX}"
            )
        free = self._appender.room - self._openings.kept
        if free < size and not self._house.grow(size) and not self._openings.spend(opening, size):
            raise JournalUnavailable(self._house.full or "the journal has no room left")
        try:
            self._appender.put(MARK, payload)
        except WriteFailed as error:
            raise self._unwritable(error) from error
        opening.mark = payload
        if not self._maintenance.awake:
            self._maintenance.nudge()

    def close(self, record: UsageRecord) -> int:
        """Ends an exchange with its record; the entry's seq.

        Never refuses: while the disk does, the record waits in memory and `ready` is False.
        """
        opening = self._openings.resolve(record.id)
        bytes_max = PAYLOAD_BYTES_MAX if opening is None else opening.close_room - HEADER_BYTES
        payload, written = encode_close(record, bytes_max)
        seq = self._appender.put(CLOSE, payload, keep=True)
        self.unbooked.add(seq, written, len(payload))
        if not self._maintenance.awake:
            self._maintenance.nudge()
        return seq

    def void(self, voided: Voided) -> None:
        """Takes an opening back, since nothing was sent. Never refuses.

        An exchange that was not admitted needs no void.
        """
        if self._openings.resolve(voided.id) is None:
            return
        self._appender.put(
            VOID,
            encode_entry(msgspec.structs.replace(voided, reason=voided.reason[:_REASON_CHARS_MAX])),
            keep=True,
        )
        if not self._maintenance.awake:
            self._maintenance.nudge()

    async def synced(self) -> None:
        """Under `sync: always`, returns when all entries so far are on the disk; else at once.

        Raises JournalUnavailable if the disk fails.
        """
        if self._options.sync != "always":
            return
        target = self._appender.position
        failures = 0
        while self._syncer.synced_seq < target or self._appender.broken is not None:
            if self._appender.broken is not None:
                raise JournalUnavailable(self._appender.broken)
            if not await self._syncer.join():
                # The entries of the lost segment were written again; the fresh one may work.
                failures += 1
                if failures > 1:
                    raise JournalUnavailable(
                        self._syncer.trouble or "the journal could not be synced to disk"
                    )

    # Booking and recovery.

    def booked(self, seq: int) -> None:
        """All closes up to `seq` are durable in the ledger."""
        self.unbooked.booked(seq)
        self._maintenance.booked(seq)

    def continue_after(self, seq: int) -> None:
        """Numbers the next entry behind `seq`, the ledger's last one of this writer.

        The files of those entries may be gone."""
        self.unbooked.booked(seq)
        self._appender.skip_to(seq)

    def take_recovered(self) -> Recovered:
        """The exchanges found open at the start, once. Each needs a `close` or a `void`."""
        found = self._recovered
        self._recovered = msgspec.structs.replace(found, unresolved=[])
        return found

    # The life beside the entries.

    async def run(self) -> None:
        """Syncs, repairs and keeps house until `aclose`."""
        await self._maintenance.run()

    async def aclose(self) -> None:
        """Ends `run`, makes everything durable and frees the directory. Idempotent.

        No entry may be written afterwards.
        """
        if self._lock_fd < 0:
            return
        lock_fd, self._lock_fd = self._lock_fd, -1
        await self._maintenance.aclose()
        self._appender.close()
        self._syncer.close()
        await asyncio.to_thread(self._threads.shutdown)
        os.close(lock_fd)

    def _leave(self, segment: Segment) -> None:
        self._retention.add(segment)
        self._syncer.leave(segment)
        self._maintenance.tidy_soon()

    def _look(self) -> None:
        segments = self._appender.segments
        files = [(segment.path, segment.fd, segment.size) for segment in segments]
        self._files.look([(self.directory / LOCK, self._lock_fd, 0), *files])

    def _rewrite(self, kind: int, payload: bytes) -> None:
        """Writes an entry of a lost segment again.

        An exchange that has ended since needs its end only, not its opening and marks.
        """
        if kind in (CLOSE, VOID) or self._openings.get(id_of(payload)) is not None:
            seq = self._appender.put(kind, payload, keep=True)
            if kind == CLOSE:
                self.unbooked.skip(seq)

    def _unwritable(self, error: WriteFailed) -> JournalUnavailable:
        self._maintenance.nudge()
        return JournalUnavailable(f"the disk refuses: {error}")

    # Figures.

    @property
    def why_not_ready(self) -> str | None:
        if self._files.gone is not None:
            return self._files.gone
        if self._appender.broken is not None:
            return f"the journal cannot be written: {self._appender.broken}"
        if self._syncer.trouble is not None:
            return self._syncer.trouble
        if (
            self._house.full is not None
            and self._appender.room - self._openings.kept < _READY_ROOM_BYTES
        ):
            return self._house.full
        return None

    @property
    def ready(self) -> bool:
        return self.why_not_ready is None

    @property
    def position(self) -> int:
        """The seq up to which all entries are written, and a reader may read."""
        return self._appender.position

    @property
    def open_count(self) -> int:
        return len(self._openings)

    @property
    def bytes_on_disk(self) -> int:
        return self._house.bytes_on_disk

    @property
    def failures(self) -> int:
        """Writes, allocations and clean-ups that the disk refused, and files that vanished."""
        return self._appender.failures + self._house.failures + self._files.losses

    @property
    def sync_failures(self) -> int:
        return self._syncer.failures

    def write_seconds(self) -> tuple[tuple[float, ...], list[int], float]:
        """How long writes took, as a histogram: upper bounds, counts, sum.

        There is one count more than there are bounds.
        """
        return WRITE_BOUNDS_S, list(self._appender.write_counts), self._appender.write_sum_s
