"""The keys and teams as a process knew them last, in a file: digests, and no secret.

A process goes by it that starts while the shared ledger is away. It must never bring back what was
taken away: it is written before an order is answered, and one that cannot be written is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy.core.managed import Managed
from proxy.system.files import sync_directory

FILE: Final = "keys.snapshot"  # in the data directory
FORMAT: Final = 1

_MAGIC: Final = b"tollkeeper keys "
_STAMP_AT: Final = len(_MAGIC) + len(b"1 ")
_STAMP_BYTES: Final = 13 + 1 + 32
_HEAD_BYTES: Final = _STAMP_AT + _STAMP_BYTES + 1
_END_BYTES: Final = 64 + 1


class SnapshotRefused(Exception):
    """There is no snapshot that a start may go by; the message says why and what to do."""


class KnownKeys(msgspec.Struct, frozen=True):
    """What a process knew.

    ledger · the database, without user and password    key_name · of the ledger's key
    version · of keys and teams in it    heard_at_ms · when all this was last known to be so
    """

    ledger: str
    key_name: str
    version: int
    heard_at_ms: int
    rows: tuple[Managed, ...]


class KnownFile:
    """The file, which the processes of one data directory share. All of it blocks.

    `key` is the ledger's: without it nobody can make a file that is read.
    """

    def __init__(self, data_dir: Path, key: bytes, ledger: str) -> None:
        self.path = data_dir / FILE
        self._lock = data_dir / f"{FILE}.lock"
        self._key = hmac.digest(key, b"keys.snapshot", "sha256")
        self._key_name = hashlib.sha256(self._key).hexdigest()[:8]
        self._ledger = ledger
        self._mine: tuple[int, int, bytes] | None = None  # descriptor, version and seal

    def write(self, version: int, rows: Sequence[Managed], now_ms: int, *, anew: bool) -> None:
        """Replace the file, durably. Raises OSError; then there is none any more.

        A newer one of another process stays, but where it is of a state that the ledger does not
        have any more (`anew`).
        """
        known = KnownKeys(self._ledger, self._key_name, version, now_ms, tuple(rows))
        text = msgspec.json.encode(known)
        seal = self._seal(text)
        whole = b"%b%d %b\n%b%b\n" % (_MAGIC, FORMAT, self._stamp(seal, now_ms), text, seal)
        with self._alone():
            if not anew and self._newest() > version:
                return
            try:
                self._replace(whole)
            except OSError:
                self.path.unlink(missing_ok=True)
                sync_directory(self.path.parent)
                raise
            self._keep(version, seal)

    def heard(self, version: int, now_ms: int) -> bool:
        """Say that the file is still what the ledger says. False: it is not of this version."""
        with self._alone():
            if not self._is_mine() and not self._adopt():
                return False
            assert self._mine is not None, "it was found just now"
            descriptor, its_version, seal = self._mine
            if its_version != version:
                return False
            os.pwrite(descriptor, self._stamp(seal, now_ms), _STAMP_AT)
            return True

    def read(self) -> KnownKeys:
        """What the file says. Raises SnapshotRefused."""
        data = self._bytes()
        if not data.startswith(_MAGIC):
            raise SnapshotRefused(f"{self.path} is no snapshot of keys: delete it")
        form = data[len(_MAGIC) : len(_MAGIC) + 8].split(b" ")[0]
        if form != b"%d" % FORMAT:
            raise SnapshotRefused(
                f"{self.path} has the format {form.decode('ascii', 'replace')!r}, and this program"
                f" reads {FORMAT}: start the version that wrote it, or bring the ledger back"
            )
        text, end = data[_HEAD_BYTES:-_END_BYTES], data[-_END_BYTES:]
        seal = self._seal(text)
        try:
            known = msgspec.json.decode(text, type=KnownKeys)
        except msgspec.DecodeError:
            known = None
        if known is not None and known.key_name != self._key_name:
            raise SnapshotRefused(
                f"{self.path} was made with another ledger.key: it belongs to another data"
                " directory"
            )
        if known is None or not hmac.compare_digest(end, seal + b"\n"):
            raise SnapshotRefused(f"{self.path} is damaged: a start cannot go by it")
        if known.ledger != self._ledger:
            raise SnapshotRefused(
                f"{self.path} is of the ledger {known.ledger}, and the config names {self._ledger}"
            )
        stamp = data[_STAMP_AT : _HEAD_BYTES - 1]
        heard = stamp[:13]
        if heard.isdigit() and hmac.compare_digest(stamp, self._stamp(seal, int(heard))):
            known = msgspec.structs.replace(known, heard_at_ms=int(heard))
        return known  # else it was last heard when it was written, at the latest

    def _bytes(self) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError as error:
            raise SnapshotRefused(
                f"there is no {self.path}: a process writes it once it has heard of the ledger"
            ) from error
        except OSError as error:
            raise SnapshotRefused(
                f"{self.path} cannot be opened: {error.strerror or error}"
            ) from error
        try:
            self._check(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        except OSError as error:
            raise SnapshotRefused(
                f"{self.path} cannot be read: {error.strerror or error}"
            ) from error
        finally:
            os.close(descriptor)

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotRefused(f"{self.path} is no file: move it away")
        if status.st_uid != os.geteuid():
            raise SnapshotRefused(f"{self.path} belongs to another user: move it away")
        if status.st_mode & 0o077:
            raise SnapshotRefused(
                f"{self.path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}):"
                " look who changed it, then chmod 600"
            )

    def _newest(self) -> int:
        """The version of the file that is there; -1 without one that can be used."""
        if not self._is_mine() and not self._adopt():
            return -1
        assert self._mine is not None, "it was found just now"
        return self._mine[1]

    def _is_mine(self) -> bool:
        """Whether the file is still what this process has written or read."""
        if self._mine is None:
            return False
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._mine[0]))

    def _adopt(self) -> bool:
        """Take the file of another process for this one's; False without one that can be used."""
        try:
            known = self.read()
        except SnapshotRefused:
            return False
        self._keep(known.version, self._bytes()[-_END_BYTES:-1])
        return True

    def _keep(self, version: int, seal: bytes) -> None:
        self.close()
        descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._mine = (descriptor, version, seal)

    def _replace(self, whole: bytes) -> None:
        beside = self.path.with_name(f"{FILE}.new")
        beside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self.path)
        sync_directory(self.path.parent)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of the data directory writes meanwhile."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _seal(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256").hex().encode()

    def _stamp(self, seal: bytes, at_ms: int) -> bytes:
        digits = b"%013d" % at_ms
        mac = hmac.digest(self._key, b"heard" + digits + seal, "sha256").hex()[:32]
        return digits + b" " + mac.encode()

    def close(self) -> None:
        """Close the file. May be called again."""
        mine, self._mine = self._mine, None
        if mine is not None:
            os.close(mine[0])
