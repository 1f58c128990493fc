"""Entries and failing disks for the journal's tests."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.core.entries import Marked, Opened, Voided
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.journal import Journal, JournalOptions, JournalReader, recover
from proxy.journal import frames as f
from proxy.journal.appender import Appender
from proxy.journal.disk import Disk, SystemDisk
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.journal.segments import Segment
from tests.support.journals import journal_options
from tests.support.waiting import guard

SMALL = journal_options(
    interval_s=0.001, segment_bytes=SEGMENT_BYTES_MIN, size_max_bytes=64 * SEGMENT_BYTES_MIN
)


def opened(id: str, **changes: object) -> Opened:
    fields: dict[str, object] = {
        "id": id,
        "started_at_ms": 1_760_000_000_000,
        "key_id": "alice",
        "team": "research",
        "labels": {"cost_center": "4711"},
        "tags": {"env": "prod"},
        "endpoint": "/v1/chat/completions",
        "dialect": "openai_chat",
        "upstream": "modelverse",
        "model_requested": "深度-v3",
        "bytes_in": 1034,
    }
    return Opened(**{**fields, **changes})  # type: ignore[arg-type]


def marked(id: str, output_tokens: int = 512) -> Marked:
    return Marked(id=id, output_tokens=output_tokens, status=200)


def record(id: str, **changes: object) -> UsageRecord:
    fields: dict[str, object] = {
        "id": id,
        "writer": "w0",
        "started_at_ms": 1_760_000_000_000,
        "duration_ms": 512,
        "key_id": "alice",
        "team": "research",
        "labels": {"cost_center": "4711"},
        "tags": {"env": "prod"},
        "endpoint": "/v1/chat/completions",
        "dialect": "openai_chat",
        "upstream": "modelverse",
        "model_requested": "深度-v3",
        "status": 200,
        "outcome": Outcome.COMPLETED,
        "input_tokens": 100,
        "output_tokens": 50,
        "input_source": Source.REPORTED,
        "output_source": Source.REPORTED,
        "source": Source.REPORTED,
        "usage_raw": {"prompt_tokens": 100},
    }
    return UsageRecord(**{**fields, **changes})  # type: ignore[arg-type]


def voided(id: str) -> Voided:
    return Voided(id=id, reason="nothing was sent")


def all_closes(directory: Path, upto_seq: int, after_seq: int = 0) -> list[tuple[int, UsageRecord]]:
    reader = JournalReader(directory, after_seq)
    try:
        found: list[tuple[int, UsageRecord]] = []
        while batch := reader.closes(64, upto_seq):
            found += batch
        return found
    finally:
        reader.close()


class BadDisk(SystemDisk):
    """A disk that fails when told to. A write rule is asked for each frame: how many of its bytes
    are written; an error to raise instead."""

    def __init__(self) -> None:
        super().__init__()
        self.on_write: Callable[[bytes, int], int | OSError | None] = lambda data, offset: None
        self.sync_error: OSError | None = None
        self.allocate_error: OSError | None = None
        self.writes = 0
        self.syncs = 0

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:  # type: ignore[override]
        self.writes += 1
        verdict = self.on_write(data, offset)
        if isinstance(verdict, OSError):
            raise verdict
        if verdict is None:
            return os.pwrite(fd, data, offset)
        return os.pwrite(fd, data[:verdict], offset)

    def fdatasync(self, fd: int, /) -> None:  # type: ignore[override]
        self.syncs += 1
        if self.sync_error is not None:
            raise self.sync_error
        os.fdatasync(fd)

    def allocate(self, fd: int, size: int, /) -> None:
        if self.allocate_error is not None:
            raise self.allocate_error
        super().allocate(fd, size)


def disk_error(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number))


@asynccontextmanager
async def running(
    root: Path,
    options: JournalOptions = SMALL,
    fail: FaultPoint = no_fault,
    *,
    disk: Disk | None = None,
) -> AsyncIterator[Journal]:
    """A journal with its loops, closed at the end."""
    journal = Journal.claim(root, options, fail, disk=disk)
    task = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        await journal.aclose()
        await task


@asynccontextmanager
async def driven(
    root: Path,
    options: JournalOptions = SMALL,
    fail: FaultPoint = no_fault,
    *,
    disk: Disk | None = None,
) -> AsyncIterator[Journal]:
    """A journal whose loops do not run: `turn` is one round of them, so that the test says when."""
    journal = Journal.claim(root, options, fail, disk=disk)
    try:
        yield journal
    finally:
        await journal.aclose()


async def turn(journal: Journal) -> None:
    for _ in range(2):  # a segment is done one sync after it was found resolved
        await journal._syncer.join()
        await journal._house.prepare()
        await journal._house.tidy(journal._maintenance.booked_seq, journal._syncer.synced_seq)


async def until(condition: Callable[[], bool], journal: Journal | None = None) -> None:
    """Waits for what the journal's own loops bring about; given the journal, without the pauses it
    makes between two looks at its segments."""
    async with guard():
        while not condition():
            if journal is not None:
                journal._maintenance.tidy_soon()
            await asyncio.sleep(0.002)


def names(journal: Journal) -> list[str]:
    return sorted(path.name for path in journal.directory.iterdir() if path.name != "lock")


def kind_of(data: bytes) -> int | None:
    """The kind of a frame; None for zeros."""
    frame = f.frame_at(data, 0)
    return None if frame is None else frame.kind


def state(journal: Journal) -> tuple[list[str], list[str]]:
    """What a new process would find: ids still open, ids closed."""
    return (
        [exchange.id for exchange, _ in recover(journal.directory).unresolved],
        [closed.id for _, closed in all_closes(journal.directory, 10**9)],
    )


def unwritten(number: int, size: int = 100) -> Segment:
    """A segment as the journal's books have it, without a file."""
    return Segment(number, Path(f"{number:010d}.seg"), size, -1, SystemDisk())


def bare_tape(
    directory: Path, disk: Disk, leave: Callable[[Segment], None] = Segment.close
) -> Appender:
    """An appender by itself, in small segments."""
    return Appender(directory, SEGMENT_BYTES_MIN, disk, no_fault, number=1, seq=0, leave=leave)


def entries(directory: Path) -> list[tuple[int, int, bytes]]:
    """All that stands in the plain segments, as (kind, seq, payload), but for start frames."""
    data = b"".join(path.read_bytes() for path in sorted(directory.glob("*.seg")))
    return [
        (frame.kind, frame.seq, frame.payload(data))
        for frame in f.scan(data)
        if frame.kind != f.START
    ]
