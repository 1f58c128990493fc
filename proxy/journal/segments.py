"""One segment: a preallocated file of frames.

Its name is its number, in the order of writing; `.gz` behind it says that it is done.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from proxy.journal.disk import Disk
from proxy.system.files import sync_directory

PLAIN: Final = ".seg"
DONE: Final = ".seg.gz"
MAKING: Final = ".tmp"
_FILE_MODE = 0o600


class SegmentFile(NamedTuple):
    """A segment as the directory shows it."""

    number: int
    path: Path

    @property
    def compressed(self) -> bool:
        return self.path.name.endswith(DONE)


class Finished(NamedTuple):
    """A compressed segment. `written_at_s` is when its last entry was written, Unix seconds."""

    number: int
    path: Path
    size: int
    written_at_s: float


def list_segments(directory: Path) -> list[SegmentFile]:
    """The directory's segments by number.

    A crash can leave a plain segment beside its finished copy; the plain one counts then.
    """
    found: dict[int, Path] = {}
    for path in directory.iterdir():
        number, dot, rest = path.name.partition(".")
        if not number.isdecimal() or dot + rest not in (PLAIN, DONE):
            continue
        if int(number) not in found or path.name.endswith(PLAIN):
            found[int(number)] = path
    return [SegmentFile(number, found[number]) for number in sorted(found)]


class Segment:
    """A segment of this process, or one found at start.

    Lives on the event loop; `create` may run in a thread.
    """

    __slots__ = (
        "_pwrite",
        "fd",
        "last_close_seq",
        "number",
        "path",
        "position",
        "resolved_at",
        "size",
        "synced",
        "uncertain",
        "unresolved",
    )

    def __init__(self, number: int, path: Path, size: int, fd: int, disk: Disk) -> None:
        self.number = number
        self.path = path
        self.size = size  # bytes it takes on the disk
        self.fd = fd  # -1: not open here
        self.position = 0  # where the next frame goes: all before it is written
        self.synced = 0  # all before it is durable
        self.last_close_seq = 0  # highest seq of a close in it
        self.unresolved = 0  # open exchanges that began in it
        # position of the journal when it was left and `unresolved` seen to be 0
        self.resolved_at: int | None = None
        # a failed write could not be undone: its frame may stand at `position`
        self.uncertain = False
        self._pwrite = disk.pwrite

    @classmethod
    def create(cls, directory: Path, number: int, size: int, disk: Disk) -> Self:
        """A new, empty, preallocated, durable segment. Blocking.

        Raises OSError, and leaves no file behind then.
        """
        path = directory / f"{number:010d}{PLAIN}"
        making = path.with_name(path.name + MAKING)
        fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
        try:
            disk.allocate(fd, size)
            os.fsync(fd)
            making.rename(path)
            sync_directory(directory)
        except BaseException:
            os.close(fd)
            making.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        return cls(number, path, size, fd, disk)

    @property
    def left(self) -> int:
        """Bytes that can still be written."""
        return self.size - self.position

    def append(self, frame: bytes) -> None:
        """Writes one frame at `position` and moves it.

        Raises OSError: the position has not moved, and the written part is undone, or `uncertain`.
        """
        length = len(frame)
        try:
            written = self._pwrite(self.fd, frame, self.position)
        except OSError:
            self._undo(length)
            raise
        if written != length:
            self._undo(written)
            raise OSError(errno.EIO, f"short write: {written} of {length} bytes")
        self.position += length

    def hold(self) -> None:
        """An open exchange begins here: the segment must stay."""
        self.unresolved += 1

    def free(self) -> None:
        """One of those has its end, or begins in a newer segment now."""
        self.unresolved -= 1

    def retract(self, length: int) -> None:
        """Takes back the frame just written."""
        self.position -= length
        self._undo(length)

    def _undo(self, length: int) -> None:
        """Zeros the bytes of a failed write, so that they are never read as an entry."""
        if length == 0:
            return
        try:
            self.uncertain = self._pwrite(self.fd, bytes(length), self.position) != length
        except OSError:
            self.uncertain = True

    def read_unsynced(self) -> bytes:
        """The frames written since the last good sync, as the system still has them."""
        return os.pread(self.fd, self.position - self.synced, self.synced)

    def close(self) -> None:
        """Closes the file."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1

    def trim(self) -> None:
        """Cuts the unused tail off. A disk that refuses costs only space."""
        if self.position < self.size and not self.uncertain:
            # First the size, then the file: a file that is shorter than its size was cut by others.
            size, self.size = self.size, self.position
            try:
                os.truncate(self.path, self.position)
            except OSError:
                self.size = size

    def discard(self) -> None:
        """Removes a segment in which nothing stands."""
        self.close()
        self.path.unlink(missing_ok=True)
