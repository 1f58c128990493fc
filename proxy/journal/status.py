"""A journal's figures seen from outside, for the command line: works beside a running process and without one, and changes nothing."""

from __future__ import annotations

from pathlib import Path

from proxy.journal.claims import is_locked
from proxy.journal.options import JournalFigures
from proxy.journal.reader import Reader
from proxy.journal.segments import list_segments
from proxy.journal.survey import Survey, survey

_BATCH = 256


def inspect(directory: Path, booked_seq: int) -> JournalFigures:
    """The figures of one writer's directory; `booked_seq` is the ledger's position for it. Raises OSError."""
    found = survey(directory)
    undone = _oldest_undone(found, booked_seq)
    return JournalFigures(
        writer=directory.name,
        in_use=is_locked(directory),
        segments=len(found.segments) + len(found.done),
        finished=len(found.done),
        bytes=sum(file.path.stat().st_size for file in list_segments(directory)),
        last_seq=found.last_seq,
        open_exchanges=len(found.unresolved),
        unbooked_closes=_unbooked(directory, booked_seq, found.last_seq),
        oldest_undone=None if undone is None else undone.name,
        oldest_undone_at_ms=None if undone is None else int(undone.stat().st_mtime * 1000),
        skipped_bytes=found.skipped_bytes,
    )


def _oldest_undone(found: Survey, booked_seq: int) -> Path | None:
    pinned = {number for exchange in found.unresolved.values() for number in exchange.numbers}
    for segment in found.segments:
        if segment.number in pinned or segment.last_close_seq > booked_seq:
            return segment.path
    return None


def _unbooked(directory: Path, booked_seq: int, last_seq: int) -> int:
    reader = Reader(directory, booked_seq)
    count = 0
    try:
        while batch := reader.closes(_BATCH, last_seq):
            count += len(batch)
    finally:
        reader.close()
    return count
