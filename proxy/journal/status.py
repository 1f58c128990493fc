"""A journal's figures for the command line and the admin API. Reading them changes nothing.

It works beside a running process and without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from proxy.core.ids import made_at_ms
from proxy.journal.lock import is_locked
from proxy.journal.reader import JournalReader
from proxy.journal.recovery import FoundSegment, Scan, scan_directory

_BATCH = 256


class JournalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of a journal."""

    writer: str
    in_use: bool  # a process holds it
    segments: int  # plain and finished ones
    finished: int  # compressed ones among them
    bytes: int
    last_seq: int
    open_exchanges: int
    unbooked_closes: int  # None of them is in the ledger yet
    oldest_undone: str | None  # file name of the oldest segment that still matters
    oldest_undone_at_ms: int | None  # when it was last written
    skipped_bytes: int
    # When the oldest of those began that the ledger does not have, in Unix milliseconds.
    oldest_started_at_ms: int | None = None


def all_figures(root: Path, booked: Mapping[str, int]) -> list[JournalFigures]:
    """The figures of every writer's directory under `root`, by name; none before the first start.

    `booked` has the ledger's position for each. Raises OSError.
    """
    directories = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = []
    for directory in directories:
        position = booked.get(directory.name, 0)
        try:
            found.append(inspect(directory, position))
        except FileNotFoundError:
            # A running process moved a finished segment while it was read. The second time it is
            # found under its new name.
            found.append(inspect(directory, position))
    return found


def inspect(directory: Path, booked_seq: int) -> JournalFigures:
    """The figures of one writer's directory. Raises OSError.

    `booked_seq` is the ledger's position for it.
    """
    found = scan_directory(directory)
    undone = _oldest_undone(found, booked_seq)
    unbooked, oldest_ms = _unbooked(directory, booked_seq, found.last_seq)
    begun_ms = [*map(_made_at_ms, found.unresolved), *([] if oldest_ms is None else [oldest_ms])]
    return JournalFigures(
        writer=directory.name,
        in_use=is_locked(directory),
        segments=len(found.segments) + len(found.done),
        finished=len(found.done),
        bytes=sum(segment.size for segment in found.segments)
        + sum(finished.size for finished in found.done),
        last_seq=found.last_seq,
        open_exchanges=len(found.unresolved),
        unbooked_closes=unbooked,
        oldest_undone=None if undone is None else undone.path.name,
        oldest_undone_at_ms=None if undone is None else int(undone.written_at_s * 1000),
        skipped_bytes=found.skipped_bytes,
        oldest_started_at_ms=min(begun_ms, default=None),
    )


def _oldest_undone(found: Scan, booked_seq: int) -> FoundSegment | None:
    pinned = {exchange.number for exchange in found.unresolved.values()}
    for segment in found.segments:
        if segment.number in pinned or segment.last_close_seq > booked_seq:
            return segment
    return None


def _made_at_ms(id: str) -> int:
    """When an open exchange began; 0 for an id that does not say."""
    try:
        return made_at_ms(id)
    except ValueError:
        return 0


def _unbooked(directory: Path, booked_seq: int, last_seq: int) -> tuple[int, int | None]:
    """How many closes are not booked, and when the oldest of them began."""
    reader = JournalReader(directory, booked_seq)
    count, oldest_ms = 0, None
    try:
        while batch := reader.closes(_BATCH, last_seq):
            count += len(batch)
            begun_ms = min(record.started_at_ms for _, record in batch)
            oldest_ms = begun_ms if oldest_ms is None else min(oldest_ms, begun_ms)
    finally:
        reader.close()
    return count, oldest_ms
