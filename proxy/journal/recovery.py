"""What a dead process left: its open exchanges, so that they are settled, and its files.

A start reads the directory once, whole, but for finished (compressed) segments. Damage never stops
it: a crash leaves a torn frame at the end at worst, a power cut or a bad disk may leave holes. All
sound frames around them count, and all damage is reported.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import msgspec

from proxy.core.entries import Marked, Opened
from proxy.journal import frames
from proxy.journal.codec import ANSWER_BYTES_MAX, decode_mark, decode_open, id_of
from proxy.journal.disk import Disk
from proxy.journal.frames import HEADER_BYTES, Frame
from proxy.journal.open_exchanges import OpenExchange, OpenExchanges
from proxy.journal.retention import Retention
from proxy.journal.segments import MAKING, Finished, Segment, SegmentFile, list_segments

_TRIES_MAX = 20
SKIPPED_LISTED_MAX = 100  # places named one by one; the bytes are counted beyond it too


class Skipped(msgspec.Struct, frozen=True):
    """A range without a sound entry, though something was written there or behind it."""

    path: Path
    offset: int
    bytes: int


class FoundExchange:
    """An opening without an end: the payloads of its entries, and its first segment."""

    __slots__ = ("marks", "number", "opened")

    def __init__(self, opened: bytes, number: int) -> None:
        self.opened = opened
        self.marks: list[bytes] = []
        self.number = number


class FoundSegment(msgspec.Struct, frozen=True):
    """A plain segment. `end` is the end of its last sound entry or damage, 0 if it is unused."""

    number: int
    path: Path
    size: int
    end: int
    last_close_seq: int
    written_at_s: float


class Scan:
    """All that stands in a directory, built up segment by segment.

    Memory holds only the exchanges that are open at each point of the reading.
    """

    def __init__(self) -> None:
        self.segments: list[FoundSegment] = []
        self.done: list[Finished] = []
        self.unresolved: dict[str, FoundExchange] = {}
        self.unopened: set[str] = set()  # exchanges with marks but no opening: it was damaged
        self.skipped: list[Skipped] = []
        self.skipped_bytes = 0
        self.frames = 0
        self.last_seq = 0

    def read(self, file: SegmentFile) -> None:
        data, written_at_s = file.path.read_bytes(), file.path.stat().st_mtime
        end = last_close_seq = 0
        for frame in frames.scan(data):
            if frame.at > end:
                self.skip(file.path, end, frame.at - end)
            end = frame.end
            self._take(frame, data, file)
            if frame.kind == frames.CLOSE:
                last_close_seq = frame.seq
        torn = len(data[end:].rstrip(b"\0"))
        if torn:
            self.skip(file.path, end, torn)
        self.segments.append(
            FoundSegment(
                file.number, file.path, len(data), end + torn, last_close_seq, written_at_s
            )
        )

    def skip(self, path: Path, offset: int, length: int) -> None:
        self.skipped_bytes += length
        if len(self.skipped) < SKIPPED_LISTED_MAX:
            self.skipped.append(Skipped(path, offset, length))

    def _take(self, frame: Frame, data: bytes, file: SegmentFile) -> None:
        self.last_seq = max(self.last_seq, frame.seq)
        if frame.kind == frames.START:
            return
        self.frames += 1
        payload = frame.payload(data)
        try:
            id = id_of(payload)
        except msgspec.DecodeError:
            self.skip(file.path, frame.at, frame.end - frame.at)
            return
        found = self.unresolved.get(id)
        if frame.kind == frames.OPEN:
            if found is None:  # else it was written again, to outlast its first segment
                self.unresolved[id] = FoundExchange(payload, file.number)
        elif frame.kind == frames.MARK:
            if found is None:
                self.unopened.add(id)
            else:
                found.marks.append(payload)
        else:
            self.unresolved.pop(id, None)
            self.unopened.discard(id)


def scan_directory(directory: Path) -> Scan:
    """Reads all segments that are not done. Raises OSError if the directory cannot be read."""
    for _ in range(_TRIES_MAX):
        try:
            return _scan_once(directory)
        except FileNotFoundError:
            # A process works there and has compressed a segment meanwhile. An end in it would be
            # missing, so read from the start.
            pass
    return _scan_once(directory)


def _scan_once(directory: Path) -> Scan:
    result = Scan()
    files = list_segments(directory)
    for file in files:
        if file.compressed:
            state = file.path.stat()
            result.done.append(Finished(file.number, file.path, state.st_size, state.st_mtime))
        else:
            result.read(file)
    if files and files[-1].compressed:
        # The newest segment is always a plain one. If it was taken away, numbering must still
        # continue behind the numbers that were used.
        result.last_seq = max(result.last_seq, _last_seq(files[-1].path))
    return result


def _last_seq(path: Path) -> int:
    try:
        with gzip.open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error):
        return 0
    return max((frame.seq for frame in frames.scan(data)), default=0)


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a dead process left: its open exchanges, and all damage that was found."""

    unresolved: list[tuple[Opened, list[Marked]]]  # in the order of opening
    last_seq: int
    frames: int  # sound entries read
    skipped_bytes: int  # of damage
    skipped: tuple[Skipped, ...]  # the first places of damage
    # exchanges with a mark but neither opening nor end: the opening was damaged, so that no record
    # can be made
    unopened: int


def recover(directory: Path) -> Recovered:
    """Reads a writer's directory and changes nothing.

    Its lock must be held, or running exchanges look dead.
    """
    return recovered(scan_directory(directory))


def recovered(found: Scan) -> Recovered:
    """The open exchanges of a scan, decoded. An entry that cannot be decoded counts as skipped."""
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
    """Removes files that a crash left half made. No entry stands in them."""
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
    """Hands the segments to the retention, and their open exchanges to the openings.

    Discards segments that were never used.
    """
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
