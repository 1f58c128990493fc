"""Writes the entries: into the current segment, the spare ones behind it, or memory.

Every entry gets its seq here. A write that fails is undone and tried once on a fresh segment. If
that fails too, the appender is `broken`: it refuses open exchanges and marks, and keeps endings in
memory in their order. `repair` writes them once a segment takes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.journal import frames
from proxy.journal.disk import Disk
from proxy.journal.frames import CLOSE, FRAME_BYTES_MAX, HEADER_BYTES, encode
from proxy.journal.segments import Segment

WRITE_BOUNDS_S: Final = (
    0.000_002,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_1,
    0.000_5,
    0.002,
    0.01,
    0.05,
    0.25,
)
_POINTS: Final = {
    frames.OPEN: ("journal.open.before", "journal.open.after"),
    frames.MARK: ("journal.mark.before", "journal.mark.after"),
    frames.CLOSE: ("journal.close.before", "journal.close.after"),
    frames.VOID: ("journal.void.before", "journal.void.after"),
}


class WriteFailed(Exception):
    """The entry was not written.

    `uncertain`: the disk could not undo it either, so that recovery might find it.
    """

    def __init__(self, reason: str, *, uncertain: bool) -> None:
        super().__init__(reason)
        self.uncertain = uncertain


class Appender:
    """Lives on the event loop; `create` alone may run in a thread."""

    def __init__(
        self,
        directory: Path,
        segment_bytes: int,
        disk: Disk,
        fail: FaultPoint,
        *,
        number: int,
        seq: int,
        leave: Callable[[Segment], None],
    ) -> None:
        """The first segment gets `number`, the first entry seq + 1. Raises OSError.

        `leave` takes each segment that is written out.
        """
        # all entries up to here are written (but those whose failure was reported)
        self.position = seq
        self.failures = 0  # writes and allocations the disk refused
        self.broken: str | None = None  # why nothing can be written
        self.write_counts = [0] * (len(WRITE_BOUNDS_S) + 1)
        self.write_sum_s = 0.0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._fail = fail
        self._faults = fail is not no_fault  # only fault tests have any: no call for each entry
        self._leave = leave
        self._assigned = seq
        self._number = number
        self._spares: deque[Segment] = deque()
        self._room_end = 0  # room + the current segment's position
        # (kind, seq, frame), bounded by the open exchanges: none is admitted meanwhile
        self._waiting: deque[tuple[int, int, bytes]] = deque()
        self.segment = self._started(self.create(self.take_number()))
        self._count_room()

    # Room.

    @property
    def room(self) -> int:
        """Bytes of frames that surely fit.

        A frame that does not fit in one segment leaves at most FRAME_BYTES_MAX of it unused.
        """
        return self._room_end - self.segment.position

    @property
    def bytes_on_disk(self) -> int:
        # A scrape asks from its own thread: a list is made in one step, a deque that changes
        # meanwhile would raise.
        return self.segment.size + sum(spare.size for spare in list(self._spares))

    @property
    def segments(self) -> list[Segment]:
        """The current segment and the spares: what the next entries go into."""
        return [self.segment, *self._spares]

    @property
    def spares(self) -> int:
        return len(self._spares)

    def take_number(self) -> int:
        number = self._number
        self._number += 1
        return number

    def create(self, number: int) -> Segment:
        """A fresh segment, not yet a spare. Blocking, callable in a thread. Raises OSError."""
        self._fail("journal.preallocate.before")
        segment = Segment.create(self._directory, number, self._segment_bytes, self._disk)
        try:
            self._fail("journal.preallocate.after")
        except OSError:
            segment.discard()
            raise
        return segment

    def add_spare(self, segment: Segment) -> None:
        """Adds a segment behind the spares; discards it if a newer one is already there."""
        last = self._spares[-1].number if self._spares else self.segment.number
        if segment.number < last:
            segment.discard()
            return
        self._spares.append(segment)
        self._count_room()

    # Writing.

    def put(self, kind: int, payload: bytes, *, keep: bool = False) -> int:
        """Writes one entry and returns its seq.

        With `keep`, an entry that cannot be written waits for `repair`; `position` tells how far
        all is written. Without it, WriteFailed is raised, and nothing was written as far as the
        disk can tell.
        """
        seq = self._assigned + 1
        frame = encode(kind, seq, payload)
        begun_s = perf_counter()
        failure: OSError | None = None
        if self.broken is None:
            try:
                self._place(kind, seq, frame)
                self._assigned = self.position = seq
            except OSError as error:
                failure = error
        if self._assigned != seq:
            self._put_slowly(kind, seq, frame, failure, keep=keep)
        taken_s = perf_counter() - begun_s
        self.write_sum_s += taken_s
        self.write_counts[bisect_left(WRITE_BOUNDS_S, taken_s)] += 1
        return seq

    def repair(self) -> bool:
        """Writes the waiting entries. Leaves the appender broken if the disk still refuses."""
        try:
            if self._spares or self.segment.uncertain:
                self._roll()
            while self._waiting:
                kind, seq, frame = self._waiting[0]
                self._place(kind, seq, frame)
                self.position = seq
                self._waiting.popleft()
        except OSError as error:
            self._refused(error)
            return False
        self.broken = None
        return True

    def roll(self) -> bool:
        """Leaves the current segment for a fresh one; False if no fresh one can be had."""
        try:
            self._roll()
        except OSError as error:
            self._refused(error)
            return False
        return True

    def skip_to(self, seq: int) -> None:
        """Numbers the next entry behind `seq`."""
        assert not self._waiting
        if seq > self._assigned:
            self._assigned = self.position = seq

    def close(self) -> None:
        """Ends writing: discards the spares and cuts the unused tail off the current segment."""
        for spare in self._spares:
            spare.discard()
        self._spares.clear()
        self._count_room()
        self.segment.trim()
        self.segment.close()

    def _put_slowly(
        self, kind: int, seq: int, frame: bytes, failure: OSError | None, *, keep: bool
    ) -> None:
        """Finishes `put` for an entry whose write failed, or that came while `broken`."""
        refusal = (
            WriteFailed(self.broken or "", uncertain=False)
            if failure is None
            else self._try_again(kind, seq, frame, failure)
        )
        if refusal is None:
            self._assigned = self.position = seq
        elif keep:
            self._assigned = seq
            self._waiting.append((kind, seq, frame))
        else:
            if refusal.uncertain:
                # used up, so that no other entry is taken for its double
                self._assigned = self.position = seq
            raise refusal

    def _try_again(self, kind: int, seq: int, frame: bytes, failure: OSError) -> WriteFailed | None:
        """Writes the entry on a fresh segment; None, or the refusal of a broken appender."""
        self._refused(failure)
        uncertain = self.segment.uncertain
        try:
            self._roll()
            self._place(kind, seq, frame)
            return None
        except OSError as error:
            self._refused(error)
            self.broken = str(error)
        return WriteFailed(self.broken, uncertain=uncertain or self.segment.uncertain)

    def _place(self, kind: int, seq: int, frame: bytes) -> None:
        segment = self.segment
        if segment.position + len(frame) > segment.size:
            self._roll()
            segment = self.segment
        if self._faults:
            self._append_or_fail(segment, kind, frame)
        else:
            segment.append(frame)
        if kind == CLOSE:
            segment.last_close_seq = seq

    def _append_or_fail(self, segment: Segment, kind: int, frame: bytes) -> None:
        """The same between the two fault points of this kind."""
        before, after = _POINTS[kind]
        self._fail(before)
        segment.append(frame)
        try:
            self._fail(after)
        except OSError:
            segment.retract(len(frame))
            raise

    def _roll(self) -> None:
        self._fail("journal.roll.before")
        fresh = self._spares.popleft() if self._spares else self.create(self.take_number())
        self._count_room()
        left, self.segment = self.segment, self._started(fresh)
        self._count_room()
        self._leave(left)
        self._fail("journal.roll.after")

    def _started(self, segment: Segment) -> Segment:
        try:
            segment.append(encode(frames.START, self.position, b""))
        except OSError:
            segment.discard()
            raise
        return segment

    def _count_room(self) -> None:
        # Each begins with a start frame.
        spare_room = sum(spare.size - FRAME_BYTES_MAX - HEADER_BYTES for spare in self._spares)
        self._room_end = self.segment.size - FRAME_BYTES_MAX + spare_room

    def _refused(self, error: OSError) -> None:
        self.failures += 1
        if self.broken is not None:
            self.broken = str(error)
