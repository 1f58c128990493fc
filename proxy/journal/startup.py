"""What a new life of a writer does with the files of the last one."""

from __future__ import annotations

from pathlib import Path

from proxy.journal.disk import Disk
from proxy.journal.frames import HEADER_BYTES
from proxy.journal.openings import Opening, Openings
from proxy.journal.payloads import ANSWER_BYTES_MAX
from proxy.journal.segments import MAKING, Segment
from proxy.journal.shelf import Shelf
from proxy.journal.survey import Survey


def clear_leftovers(directory: Path) -> None:
    """Removes files whose making was cut short. Nothing stands in them."""
    for path in directory.glob(f"*{MAKING}"):
        path.unlink(missing_ok=True)


def number_after(found: Survey) -> int:
    """The number of the next segment."""
    return max([file.number for file in found.segments] + [file.number for file in found.done], default=0) + 1


def take_over(found: Survey, shelf: Shelf, openings: Openings, disk: Disk) -> None:
    """Puts the segments found on the shelf, and what is open in them among the openings. Segments that were never used go."""
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
        shelf.add(segment)
    for finished in found.done:
        shelf.add_finished(finished)
    for id, exchange in found.unresolved.items():
        opening = Opening(exchange.opened, HEADER_BYTES + len(exchange.opened) + ANSWER_BYTES_MAX, 0, by_number[exchange.number])
        opening.mark = exchange.marks[-1] if exchange.marks else None
        openings.add(id, opening)
