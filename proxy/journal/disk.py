"""The few system calls that put bytes on a disk; a test puts a failing disk in their place."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

_ZEROS = bytes(1 << 20)
_FALLOCATE: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
_NOT_OFFERED = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))


class Disk(Protocol):
    """Raises OSError as the system does; a short write returns less than it was given."""

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int: ...
    def fdatasync(self, fd: int, /) -> None: ...
    def allocate(self, fd: int, size: int, /) -> None: ...


class SystemDisk:
    """The real one."""

    pwrite = staticmethod(os.pwrite)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))

    def __init__(self, fallocate: Callable[[int, int, int], None] | None = _FALLOCATE) -> None:
        self._fallocate = fallocate

    def allocate(self, fd: int, size: int, /) -> None:
        """Gives the file `size` bytes of real zeros: a write into them needs no more space."""
        if self._fallocate is not None:
            try:
                self._fallocate(fd, 0, size)
                return
            except OSError as error:
                if error.errno not in _NOT_OFFERED:
                    raise
        offset = 0
        while offset < size:
            written = self.pwrite(fd, _ZEROS[: size - offset], offset)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            offset += written
