"""Reads a journal's closes in order, for booking and for replay.

It goes forward only and keeps its place, over plain and finished segments. It may run in a thread
beside the writer, because it reads no further than the seq it is given: everything up to there was
written before the call.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Final

import msgspec

from proxy.core.usage import UsageRecord
from proxy.journal.codec import decode_close
from proxy.journal.frames import CLOSE, FRAME_BYTES_MAX, HEADER_BYTES, MAGIC, START, Frame, frame_at
from proxy.journal.segments import SegmentFile, list_segments

WINDOW_BYTES: Final = 64 * 1024


class JournalReader:
    """A place in one writer's journal, and the damage that was passed over to get there.

    `missing` counts entries whose seq never turned up.
    """

    def __init__(self, directory: Path, after_seq: int = 0) -> None:
        self.last_seq = after_seq  # all up to here has been passed
        self.skipped_bytes = 0
        self.missing = 0
        self.undecodable = 0
        self._directory = directory
        self._window: ReadWindow | None = None
        # looked for entries up to this seq to the very end, in vain: they are damaged
        self._barren_upto = 0

    def closes(self, limit: int, upto_seq: int) -> list[tuple[int, UsageRecord]]:
        """The next closes as (seq, record), at most `limit`, none behind `upto_seq`.

        An empty list says that there are none up to there.
        """
        found: list[tuple[int, UsageRecord]] = []
        if upto_seq <= max(self.last_seq, self._barren_upto):
            return found
        if self._window is None:
            self._window = self._find_place()
        else:
            self._window.refresh()
        while self._window is not None and len(found) < limit and self.last_seq < upto_seq:
            frame = self._window.next()
            if frame is None:
                following = self._following(self._window.number)
                if following is None:
                    self._barren_upto = upto_seq
                    break
                self._window.close()
                self._window = following
            elif frame.seq > upto_seq:
                # The entries asked for are damaged; what stands here is behind them and may still
                # be in the making.
                self._barren_upto = upto_seq
                break
            else:
                self._pass(self._window, frame, found)
        return found

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def _pass(self, window: ReadWindow, frame: Frame, found: list[tuple[int, UsageRecord]]) -> None:
        self.skipped_bytes += frame.at - window.at
        known = frame.seq <= self.last_seq  # read before the place began, or written twice
        if frame.kind == CLOSE and not known:
            try:
                found.append((frame.seq, decode_close(window.payload(frame))))
            except msgspec.DecodeError:
                self.undecodable += 1
        window.at = frame.end
        if not known:
            self.missing += frame.seq - self.last_seq - (0 if frame.kind == START else 1)
            self.last_seq = frame.seq

    def _find_place(self) -> ReadWindow | None:
        """The newest segment that begins at the next wanted entry or before it.

        The oldest segment if all begin later.
        """
        place: ReadWindow | None = None
        for file in reversed(list_segments(self._directory)):
            try:
                window, first_seq = self._open(file)
            except OSError:
                if place is not None:
                    place.close()
                raise
            if window is None:
                continue
            if place is not None:
                place.close()
            place = window
            if first_seq <= self.last_seq + 1:
                break
        return place

    def _following(self, number: int) -> ReadWindow | None:
        """The next segment with an entry in it; a spare is for later."""
        for file in list_segments(self._directory):
            if file.number > number:
                window, _ = self._open(file)
                if window is not None:
                    return window
        return None

    def _open(self, file: SegmentFile) -> tuple[ReadWindow | None, int]:
        """The segment and the seq it begins with; no window if nothing stands in it."""
        try:
            window = ReadWindow(file)
        except FileNotFoundError:
            # Finished or dropped since it was listed. Finished ones were booked, and so read,
            # before.
            for other in list_segments(self._directory):
                if other.number == file.number and other.path != file.path:
                    return self._open(other)
            return None, 0
        frame = window.next()
        if frame is None:
            window.close()
            return None, 0
        return window, frame.seq + 1 if frame.kind == START else frame.seq


class ReadWindow:
    """A view of one segment that holds little more than WINDOW_BYTES of it.

    The search for the next frame begins at `at`. Offsets of frames count from the segment's start.
    Raises OSError if the file is gone.
    """

    def __init__(self, file: SegmentFile) -> None:
        self.number = file.number
        self.at = 0
        self.broken = False  # a finished segment that does not decompress to its end
        self._fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        self._raw = os.fdopen(self._fd, "rb", buffering=0)
        self._unpacked = gzip.GzipFile(fileobj=self._raw) if file.compressed else None
        self._data = b""
        self._start = 0  # where _data begins in the segment
        self._ended = False  # _data reaches the segment's end
        # what `next` saw last: the window may no longer reach back to `at`
        self._found: Frame | None = None

    def refresh(self) -> None:
        """Forgets bytes that were read ahead of the writer. A finished segment never changes."""
        if self._unpacked is None:
            self._data, self._start, self._ended, self._found = b"", self.at, False, None

    def next(self) -> Frame | None:
        """The frame at `at`, or the first sound one behind; None at the segment's end.

        Does not move `at`.
        """
        if self._found is not None and self._found.at >= self.at:
            return self._found
        self._found = self._look_on()
        return self._found

    def _look_on(self) -> Frame | None:
        look = self.at
        while True:
            if not self._ended and self._start + len(self._data) < look + FRAME_BYTES_MAX:
                self._reach(look + FRAME_BYTES_MAX, keep=look)
            # A frame that begins up to here lies wholly in the window.
            last = len(self._data) - (0 if self._ended else FRAME_BYTES_MAX)
            position = look - self._start
            while 0 <= position <= last:
                frame = frame_at(self._data, position, self._start)
                if frame is not None:
                    return frame
                position = self._data.find(MAGIC, position + 1)
            if self._ended:
                return None
            # A magic may begin in the window's last bytes.
            look = self._start + (position if position >= 0 else len(self._data) - len(MAGIC) + 1)

    def payload(self, frame: Frame) -> bytes:
        """The payload of the frame that `next` returned last."""
        return self._data[frame.at - self._start + HEADER_BYTES : frame.end - self._start]

    def close(self) -> None:
        if self._unpacked is not None:
            self._unpacked.close()
        self._raw.close()

    def _reach(self, upto: int, *, keep: int) -> None:
        """Reads until the window covers `upto` or the segment ends; drops bytes before `keep`."""
        while not self._ended and self._start + len(self._data) < upto:
            more = self._read(self._start + len(self._data))
            self._data = self._data[keep - self._start :] + more
            self._start = keep
            self._ended = not more

    def _read(self, offset: int) -> bytes:
        if self._unpacked is None:
            return os.pread(self._fd, WINDOW_BYTES, offset)
        try:
            return self._unpacked.read(WINDOW_BYTES)
        except (OSError, EOFError, zlib.error):
            self.broken = True
            return b""
