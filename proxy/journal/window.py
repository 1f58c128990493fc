"""Looks through one segment, forward, holding little more than WINDOW_BYTES of it: the reader's eye on a plain or a finished segment."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import Final

from proxy.journal.frames import FRAME_BYTES_MAX, HEADER_BYTES, MAGIC, Frame, frame_at
from proxy.journal.segments import SegmentFile

WINDOW_BYTES: Final = 64 * 1024


class Window:
    """`at` is where the next frame is looked for. Offsets of frames count from the segment's start. Raises OSError if the file is gone."""

    def __init__(self, file: SegmentFile) -> None:
        self.number = file.number
        self.at = 0
        self.broken = False  # a finished segment that does not decompress to its end
        self._fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        self._raw = os.fdopen(self._fd, "rb", buffering=0)
        self._unpacked = gzip.GzipFile(fileobj=self._raw) if file.compressed else None
        self._data = b""
        self._start = 0      # where _data begins in the segment
        self._ended = False  # _data reaches the segment's end
        self._found: Frame | None = None  # what `next` saw last: the window may no longer reach back to `at`

    def refresh(self) -> None:
        """Forgets what was read ahead of the writer. A finished segment never changes."""
        if self._unpacked is None:
            self._data, self._start, self._ended, self._found = b"", self.at, False, None

    def next(self) -> Frame | None:
        """The frame at `at`, or the first sound one behind; None if there is none to the segment's end. Does not move `at`."""
        if self._found is not None and self._found.at >= self.at:
            return self._found
        self._found = self._look_on()
        return self._found

    def _look_on(self) -> Frame | None:
        look = self.at
        while True:
            self._reach(look + FRAME_BYTES_MAX, keep=look)
            # A frame that begins up to here lies wholly in the window.
            last = len(self._data) - (0 if self._ended else FRAME_BYTES_MAX)
            position = look - self._start
            while 0 <= position <= last:
                frame = frame_at(self._data, position)
                if frame is not None:
                    return Frame(frame.kind, frame.seq, frame.at + self._start, frame.end + self._start)
                position = self._data.find(MAGIC, position + 1)
            if self._ended:
                return None
            # A magic may begin in the window's last bytes.
            look = self._start + (position if position >= 0 else len(self._data) - len(MAGIC) + 1)

    def payload(self, frame: Frame) -> bytes:
        """Of the frame that `next` returned last."""
        return self._data[frame.at - self._start + HEADER_BYTES : frame.end - self._start]

    def close(self) -> None:
        if self._unpacked is not None:
            self._unpacked.close()
        self._raw.close()

    def _reach(self, upto: int, *, keep: int) -> None:
        """Reads on until the window covers `upto` or the segment ends, dropping what lies before `keep`."""
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
