"""What a dead process left: each opening without an end, with its marks, so that it can be settled,
and the files that its next life goes on from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.core.entries import Marked, Opened
from proxy.journal.codec import ANSWER_BYTES_MAX, decode_mark, decode_open
from proxy.journal.disk import Disk
from proxy.journal.frames import HEADER_BYTES
from proxy.journal.open_exchanges import OpenExchange, OpenExchanges
from proxy.journal.retention import Retention
from proxy.journal.segments import MAKING, Segment
from proxy.journal.survey import Scan, Skipped, survey


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of reading a directory; damage is in it, not hidden by it."""

    unresolved: list[tuple[Opened, list[Marked]]]  # in the order of opening
    last_seq: int
    frames: int  # sound entries read
    skipped_bytes: int  # bytes that were no sound entry though something stood there
    skipped: tuple[Skipped, ...]  # the first of those places
    # exchanges known by a mark alone, neither opened nor ended: the opening was damaged, so no
    # record can be made
    unopened: int


def recover(directory: Path) -> Recovered:
    """Reads a writer's directory and changes nothing. Its lock must be held (or its own journal not
    yet have opened anything), else running exchanges look dead."""
    return recovered(survey(directory))


def recovered(found: Scan) -> Recovered:
    """A survey's open exchanges, decoded. An entry that cannot be decoded is reported as
    skipped."""
    unresolved: list[tuple[Opened, list[Marked]]] = []
    for exchange in found.unresolved.values():
        try:
            opened = decode_open(exchange.opened)
        except msgspec.DecodeError:
            _report(found, exchange.opened)
            continue
        marks: list[Marked] = []
        for payload in exchange.marks:
            try:
                marks.append(decode_mark(payload))
            except msgspec.DecodeError:
                _report(found, payload)
        unresolved.append((opened, marks))
    return Recovered(
        unresolved=unresolved,
        last_seq=found.last_seq,
        frames=found.frames,
        skipped_bytes=found.skipped_bytes,
        skipped=tuple(found.skipped),
        unopened=len(found.unopened),
    )


def clear_leftovers(directory: Path) -> None:
    """Removes files whose making was cut short. Nothing stands in them."""
    for path in directory.glob(f"*{MAKING}"):
        path.unlink(missing_ok=True)


def number_after(found: Scan) -> int:
    """The number of the next segment."""
    return (
        max(
            [file.number for file in found.segments] + [file.number for file in found.done],
            default=0,
        )
        + 1
    )


def take_over(found: Scan, retention: Retention, openings: OpenExchanges, disk: Disk) -> None:
    """Puts the segments found on the retention, and what is open in them among the open exchanges. Segments
    that were never used go."""
    by_number: dict[int, Segment] = {}
    for file in found.segments:
        segment = Segment(file.number, file.path, file.size, -1, disk)
        if file.end == 0:
            segment.discard()
            continue
        segment.position = segment.synced = file.end
        segment.last_close_seq = file.last_close_seq
        segment.trim()
        by_number[file.number] = segment
        retention.add(segment)
    for finished in found.done:
        retention.add_finished(finished)
    for id, exchange in found.unresolved.items():
        opening = OpenExchange(
            exchange.opened,
            HEADER_BYTES + len(exchange.opened) + ANSWER_BYTES_MAX,
            0,
            by_number[exchange.number],
        )
        opening.mark = exchange.marks[-1] if exchange.marks else None
        openings.add(id, opening)


def _report(found: Scan, payload: bytes) -> None:
    found.skipped_bytes += len(payload)
