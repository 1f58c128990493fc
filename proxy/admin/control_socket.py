"""The control socket's file, `data_dir/control.sock`.

Only this user may open it, which is all the credential it needs. A process that was killed leaves
its file behind, so a file that nothing answers on is taken over. The data directory's lock is held
by then, so no other process of ours can be about to answer on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import stat
import struct
from pathlib import Path

NAME = "control.sock"
PATH_BYTES_MAX = 103  # of a socket's address on macOS; Linux has 107
BACKLOG = 64


class NoControlSocket(Exception):
    """The socket cannot be there; the message says why and what to do."""


class ControlSocket:
    """A listening socket at the path, mode 0600 from the start. Raises NoControlSocket.

    Make it with the data directory's lock held.
    """

    def __init__(self, path: Path) -> None:
        length = len(os.fsencode(path))
        if length > PATH_BYTES_MAX:
            raise NoControlSocket(
                f"{path} has {length} bytes, and a socket's path may have {PATH_BYTES_MAX}: "
                "choose a shorter data_dir"
            )
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_way(path)
            # Linux makes the file with the mode of the socket; elsewhere `chmod` sets it below.
            with contextlib.suppress(OSError):
                os.fchmod(self.socket.fileno(), 0o600)
            self.socket.bind(str(path))
            path.chmod(0o600)
            self._identity = _identity(path)
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
        except BaseException as error:
            self.socket.close()
            if isinstance(error, OSError):
                raise NoControlSocket(
                    f"{path} cannot be made: {error.strerror or error}; choose a data_dir on a "
                    "file system that can hold sockets"
                ) from error
            raise

    def remove(self) -> None:
        """Remove the file at the end, unless it is another one by now."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def user_of(transport: asyncio.BaseTransport | None) -> str:
    """The local user at the other end, as the system knows it; `socket` where it does not tell."""
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or not hasattr(socket, "SO_PEERCRED"):
        return "socket"
    size_bytes = struct.calcsize("3i")  # process, user and group
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size_bytes)
    _, user_id, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # a user of the system's that has no name
        return f"user {user_id}"


def _make_way(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise NoControlSocket(f"{path} is no socket: move it away")
    if _answers(path):
        raise NoControlSocket(f"another process answers on {path}: give each a data_dir of its own")
    path.unlink()


def _answers(path: Path) -> bool:
    """Whether a process listens there, also one with a full backlog."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True
    return True


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
