"""Files that get their name only when they are whole: a draft beside the target, one at a time.

A lock on a file of its own says whether somebody writes, so that what a killed command left is
begun anew, and two commands never write into one draft. The name of a process would not tell it:
in containers many have the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from proxy.system.files import sync_directory

# Some file systems of a network or a cloud have no locks: there, two at once are not told apart.
_NO_LOCKS: Final = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
_IN_USE: Final = "another command writes it now: wait for its end"


@contextlib.contextmanager
def draft_of(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside the target, for this command alone; it goes if it got no other name.

    The caller fills it and gives it its name. Raises OSError, with EBUSY while another command
    writes the same target.
    """
    draft = target.with_name(f"{target.name}.part")
    with _held(draft.with_name(f"{draft.name}.lock")):
        draft.unlink(missing_ok=True)  # of a command that was killed
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        try:
            yield draft
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write a small file: all of it, durably, or what was there stays. Raises OSError."""
    with draft_of(target) as draft:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        sync_directory(target.absolute().parent)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = _locked(path)
    try:
        yield
    finally:
        # While it is locked: a command that opened it before then finds that it has no name.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(lock)


def _locked(path: Path) -> int:
    """The lock's file, open and locked. Raises OSError."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except BlockingIOError as error:
            os.close(lock)
            raise OSError(errno.EBUSY, _IN_USE) from error
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return lock
            os.close(lock)
            raise
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its holder has taken it away meanwhile
