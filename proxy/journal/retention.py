"""Segments that are written out: which are done, which are compressed, which are dropped.

A segment is done when four things hold: its closes are booked; no exchange that began in it is
open; the ends of those are durable; all segments before it are done. Without the last, a segment
with an exchange's end could be dropped before the one with its opening, and recovery would take the
exchange for open. Only done segments are compressed or deleted, in their order. `compress` and
`delete` run in a thread, everything else on the event loop.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from proxy.core.fault_points import FaultPoint
from proxy.journal.segments import DONE, MAKING, PLAIN, Finished, Segment
from proxy.system.files import sync_directory

_COPY_BYTES = 256 * 1024
# entries repeat each other: level 6 takes three times the processor for a fifth less
_GZIP_LEVEL: Final = 1


class Retention:
    """All segments of a directory but the current one and the spares."""

    def __init__(self) -> None:
        self.undone: deque[Segment] = deque()
        self._done: deque[Segment] = deque()  # to be compressed
        self._finished: deque[Finished] = deque()  # oldest first
        self._in_work: Segment | None = None
        self._bytes = 0

    @property
    def bytes_on_disk(self) -> int:
        return self._bytes

    @property
    def count(self) -> int:
        return (
            len(self.undone) + len(self._done) + len(self._finished) + (self._in_work is not None)
        )

    def add(self, segment: Segment) -> None:
        self.undone.append(segment)
        self._bytes += segment.size

    def add_finished(self, finished: Finished) -> None:
        self._finished.append(finished)
        self._bytes += finished.size

    def sort_out(self, booked_seq: int, position: int, synced_seq: int) -> None:
        """Finds the segments that have become done."""
        for segment in self.undone:
            if segment.unresolved == 0 and segment.resolved_at is None:
                segment.resolved_at = position
        while self.undone:
            segment = self.undone[0]
            resolved = segment.resolved_at is not None and segment.resolved_at <= synced_seq
            if not resolved or segment.fd >= 0 or segment.last_close_seq > booked_seq:
                break
            self._done.append(self.undone.popleft())

    def held_up(self, behind: int) -> Segment | None:
        """The oldest undone segment, if an open exchange holds it up.

        None if fewer than `behind` others wait after it.
        """
        if len(self.undone) > behind and self.undone[0].unresolved > 0:
            return self.undone[0]
        return None

    def take_done(self) -> Segment | None:
        """A segment to compress; give it back with `finish` or `put_back`."""
        assert self._in_work is None
        if self._done:
            self._in_work = self._done.popleft()
        return self._in_work

    def finish(self, finished: Finished | None) -> None:
        """The segment taken is now this one; None: it is deleted."""
        assert self._in_work is not None
        self._bytes -= self._in_work.size
        self._in_work = None
        if finished is not None:
            self.add_finished(finished)

    def put_back(self) -> None:
        """The segment taken could not be compressed; it stays done."""
        assert self._in_work is not None
        self._done.appendleft(self._in_work)
        self._in_work = None

    def take_expired(self, before_s: float) -> list[Path]:
        """Finished segments whose last entry is older; the caller deletes them."""
        expired: list[Path] = []
        while self._finished and self._finished[0].written_at_s < before_s:
            expired.append(self._take_oldest())
        return expired

    def take_surplus(self, excess_bytes: int) -> list[Path] | None:
        """Done segments, oldest first, that together take at least `excess_bytes`.

        None, and nothing taken, if all done ones together are smaller.
        """
        offered = sum(finished.size for finished in self._finished) + sum(
            segment.size for segment in self._done
        )
        if offered < excess_bytes:
            return None
        surplus: list[Path] = []
        wanted = self._bytes - excess_bytes
        while self._bytes > wanted and self._finished:
            surplus.append(self._take_oldest())
        while self._bytes > wanted:
            segment = self._done.popleft()
            self._bytes -= segment.size
            surplus.append(segment.path)
        return surplus

    def _take_oldest(self) -> Path:
        finished = self._finished.popleft()
        self._bytes -= finished.size
        return finished.path


def compress(segment: Segment, fail: FaultPoint) -> Finished:
    """Replaces a done segment by its compressed copy. Blocking. Raises OSError.

    At every moment one of the two is whole.
    """
    fail("journal.compress.before")
    target = segment.path.with_name(segment.path.name.removesuffix(PLAIN) + DONE)
    making = target.with_name(target.name + MAKING)
    written_at_s = segment.path.stat().st_mtime
    try:
        with segment.path.open("rb") as source, making.open("wb") as file:
            with gzip.GzipFile(
                filename="", fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL
            ) as packed:
                shutil.copyfileobj(source, packed, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
        os.utime(making, (written_at_s, written_at_s))
        making.rename(target)
    except OSError:
        with contextlib.suppress(OSError):
            making.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)
    fail("journal.compress.renamed")
    segment.path.unlink()
    fail("journal.compress.after")
    return Finished(segment.number, target, target.stat().st_size, written_at_s)


def delete(paths: Sequence[Path], fail: FaultPoint) -> None:
    """Drops done segments. Blocking. Raises OSError."""
    for path in paths:
        fail("journal.delete.before")
        path.unlink(missing_ok=True)
        fail("journal.delete.after")
