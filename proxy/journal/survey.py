"""What stands in a writer's directory: read once at start, whole, and never stopped by damage.
Finished (compressed) segments are not read.

A crash leaves a torn frame at the end at worst; a power cut or a bad disk may leave holes. All
sound frames around them count, and what was
passed over is reported. Memory holds only what is still open at each point of the reading, not what
ended.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import msgspec

from proxy.journal import frames
from proxy.journal.codec import id_of
from proxy.journal.frames import Frame
from proxy.journal.segments import Finished, SegmentFile, list_segments

_TRIES_MAX = 20
SKIPPED_LISTED_MAX = 100  # places named one by one; the bytes are counted beyond it too


class Skipped(msgspec.Struct, frozen=True):
    """A range that holds no sound entry though something was written there, or behind it."""

    path: Path
    offset: int
    bytes: int


class FoundExchange:
    """An opening without an end: its entries' payloads, and the segment it begins in."""

    __slots__ = ("marks", "number", "opened")

    def __init__(self, opened: bytes, number: int) -> None:
        self.opened = opened
        self.marks: list[bytes] = []
        self.number = number


class FoundSegment(msgspec.Struct, frozen=True):
    """A plain segment: `end` is where the last sound entry or damage ends, 0 if it was never
    used."""

    number: int
    path: Path
    size: int
    end: int
    last_close_seq: int
    written_at_s: float


class Scan:
    """The result, built up segment by segment."""

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


def survey(directory: Path) -> Scan:
    """Reads all segments that are not done. Raises OSError where the directory cannot be read at
    all."""
    for _ in range(_TRIES_MAX):
        try:
            return _survey(directory)
        except FileNotFoundError:
            # a process is at work there and finished a segment meanwhile: an end in it would be
            # missing, so from the start
            pass
    return _survey(directory)


def _survey(directory: Path) -> Scan:
    result = Scan()
    files = list_segments(directory)
    for file in files:
        if file.compressed:
            state = file.path.stat()
            result.done.append(Finished(file.number, file.path, state.st_size, state.st_mtime))
        else:
            result.read(file)
    if files and files[-1].compressed:
        # The newest segment is always a plain one; if someone took it away, numbering must still go
        # on behind what was used.
        result.last_seq = max(result.last_seq, _last_seq(files[-1].path))
    return result


def _last_seq(path: Path) -> int:
    try:
        with gzip.open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error):
        return 0
    return max((frame.seq for frame in frames.scan(data)), default=0)
