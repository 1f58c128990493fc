"""One process a writer directory, by a lock that the system drops when the process dies."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LOG = logging.getLogger("tollkeeper.journal")
LOCK: Final = "lock"
WRITERS_MAX: Final = 1000  # far beyond the processes that share one data directory
ADOPTION_S: Final = 120.0  # longer than a dead process' journal takes to be booked
_ADOPTED: Final = b"adopted\n"
_AGAIN_S = 0.1
_LOOK_S = 0.005
_DIRECTORY_MODE = 0o700  # entries name keys and teams


def try_lock(directory: Path, pause: Callable[[float], None] = time.sleep) -> int | None:
    """The file descriptor of the held lock, to be kept open; None if another process has it.

    Makes the directory if it is missing.
    """
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for last_try in (False, False, False, True):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if not last_try:
                    pause(_LOOK_S)  # someone may only be looking, see is_locked
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    return None


def claim_first(root: Path) -> tuple[Path, int]:
    """The first free writer directory, and the file descriptor of its lock.

    Raises OSError if there is none.
    """
    for number in range(WRITERS_MAX):
        directory = root / f"w{number}"
        fd = try_lock(directory)
        if fd is not None:
            return directory, fd
    raise OSError(f"all {WRITERS_MAX} writer directories under {root} are in use")


def claim_named(
    root: Path, name: str, pause: Callable[[float], None] = time.sleep
) -> tuple[Path, int]:
    """This writer's directory, and the file descriptor of its lock. OSError if it is held.

    A process that only books what this writer left is waited for.
    """
    directory = root / name
    waited_s = 0.0
    while (fd := try_lock(directory)) is None and waited_s < ADOPTION_S and is_adopted(directory):
        if not waited_s:
            _LOG.warning("another process books what %s left here; this one waits for it", name)
        pause(_AGAIN_S)
        waited_s += _AGAIN_S
    if fd is None:
        raise OSError(
            f"another process runs as {name!r} on this data directory: stop it, or give this one"
            " another `instance` and another data_dir"
        )
    os.ftruncate(fd, 0)  # what an adopter said before
    return directory, fd


def lock_to_adopt(directory: Path) -> int | None:
    """As `try_lock`, for a process that only books what was left here: its owner waits for that."""
    fd = try_lock(directory)
    if fd is not None:
        os.pwrite(fd, _ADOPTED, 0)
    return fd


def is_adopted(directory: Path) -> bool:
    """Whether the holder of the lock, if there is one, only books what was left here."""
    try:
        return (directory / LOCK).read_bytes() == _ADOPTED
    except OSError:
        return False


def is_locked(directory: Path) -> bool:
    """Whether a process holds the directory now. Takes the lock for a moment to see it."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def stands(path: Path, fd: int, size_bytes: int = 0) -> bool:
    """Whether `path` still names the file that `fd` has open, at its full size."""
    try:
        there, held = path.stat(), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) and held.st_size >= size_bytes


def claimable(root: Path) -> list[Path]:
    """Writer directories that no process holds: to be locked, and recovered."""
    if not root.is_dir():
        return []
    return [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and (path / LOCK).exists() and not is_locked(path)
    ]
