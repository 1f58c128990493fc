"""Whether the files that a journal writes to are still those in its directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proxy.journal.lock import stands


class FilesInUse:
    """`gone` says which file was taken away under this process; None if none was.

    Entries in a file that was removed or replaced are lost with this process; entries in a file
    that was cut (`copytruncate` does that) are lost already. So no exchange is admitted then.
    Running ones end in the file as it is, and are booked from there.
    """

    def __init__(self) -> None:
        self.gone: str | None = None
        self.losses = 0

    def look(self, files: Iterable[tuple[Path, int, int]]) -> None:
        """Looks at each file: its path, its descriptor, its least size in bytes."""
        lost = next((path.name for path, fd, size in files if not stands(path, fd, size)), None)
        if lost is None:
            self.gone = None
        elif self.gone is None:
            self.losses += 1
            self.gone = (
                f"{lost} of the journal was removed or replaced while in use, or cut:"
                " put it back, or restart the proxy"
            )
