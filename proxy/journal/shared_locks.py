"""Whether a lock on a directory holds over all hosts that share it, as far as a host can tell.

Mounts tell: an NFS mount with `local_lock` or `nolock`, or a file system of a virtual machine or of
a container's host, grants the same lock on two hosts.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Final

import msgspec

MOUNTS: Final = Path("/proc/self/mountinfo")
# Of one host, or made for several of them and known to lock over all.
_SURE: Final = frozenset(
    "bcachefs btrfs ceph ext2 ext3 ext4 f2fs gfs2 jfs nfs nfs4 ocfs2 overlay tmpfs xfs zfs".split()
)
_LOCAL_ALONE: Final = frozenset({"nolock", "local_lock=all", "local_lock=flock", "localflock"})


class Doubt(msgspec.Struct, frozen=True):
    """Why a lock may not hold. `is_sure`: it surely does not, and two writers could have one."""

    why: str
    is_sure: bool


class Mount(msgspec.Struct, frozen=True):
    """A mounted file system: where, its kind, its options and those of the file system."""

    point: str
    kind: str
    options: frozenset[str]


def doubt(directory: Path, mounts: str | None = None) -> Doubt | None:
    """Why a lock in this directory may not hold over hosts; None: nothing speaks against it.

    `mounts` is what the system says of them. Raises OSError where the directory cannot be used.
    """
    if not _locks(directory):
        return Doubt("two locks are granted at once there, even on this host", is_sure=True)
    try:
        found = mount_of(directory, MOUNTS.read_text() if mounts is None else mounts)
    except OSError:
        return None  # a system that does not tell
    if found is None:
        return None
    local = sorted(found.options & _LOCAL_ALONE)
    if local:
        return Doubt(
            f"{found.point} ({found.kind}) is mounted with {local[0]}, so a lock holds on this host"
            " alone",
            is_sure=True,
        )
    if found.kind not in _SURE:
        return Doubt(
            f"{found.point} is a file system of kind {found.kind}, of which it is not known that a"
            " lock holds over hosts",
            is_sure=False,
        )
    return None


def mount_of(directory: Path, mounts: str) -> Mount | None:
    """The mount that the directory is in, by the text of a `mountinfo`."""
    place = os.path.realpath(directory)
    found: Mount | None = None
    for line in mounts.splitlines():
        before, _, behind = line.partition(" - ")
        own, told = before.split(" "), behind.split(" ")
        if len(own) < 6 or len(told) < 3:
            continue
        point = _unescaped(own[4])
        inside = point == "/" or place == point or place.startswith(point + "/")
        # Of two at one point the later one covers the earlier.
        if inside and (found is None or len(point) >= len(found.point)):
            options = frozenset((*own[5].split(","), *told[2].split(",")))
            found = Mount(point, told[0], options)
    return found


def _locks(directory: Path) -> bool:
    """Whether a second lock on a file is refused while a first one is held."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".lock-") as first:
        fcntl.flock(first.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        second = os.open(first.name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(second)
    return False


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
