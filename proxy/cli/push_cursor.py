"""How far a receiver of events has got: a small file beside the ledger, one a receiver."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from proxy.cli.common import Failed
from proxy.system.drafts import write_whole


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last record that the receiver took: its place in the ledger, and its id."""

    seq: int
    id: str


class Cursor:
    """The file, held by this process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Sent | None:
        """What was taken last; None at the first time. Raises Failed."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Sent)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise Failed(
                f"{self._path} cannot be read ({error}): remove it and say with --after where to "
                "go on."
            ) from error

    def write(self, sent: Sent) -> None:
        """Keep it, durably: the receiver must not get all of it again. Raises Failed."""
        try:
            write_whole(self._path, msgspec.json.encode(sent) + b"\n")
        except OSError as error:
            raise Failed(
                f"The receiver took all up to seq {sent.seq}, and {self._path} cannot say so: "
                f"{error.strerror or error}. Free some room: the next call sends what came behind "
                "the place that is there, with the same ids."
            ) from error


def cursor_path(data_dir: Path, url: str) -> Path:
    """The file for this receiver; its name does not tell the URL, which may hold a secret."""
    return data_dir / f"push-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


@contextlib.contextmanager
def held(path: Path) -> Iterator[Cursor]:
    """The cursor, for one process at a time. Raises Failed."""
    try:
        lock = os.open(
            path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise Failed(f"The cursor {path} cannot be kept: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed("Another command pushes to this URL now: wait for its end.") from error
        yield Cursor(path)
    finally:
        os.close(lock)
