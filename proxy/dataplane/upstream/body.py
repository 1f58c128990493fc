"""The body of an answer, as who receives it reads it."""

from __future__ import annotations

from typing import Protocol

# bytes that may wait for who receives them; beyond, the connection is read no further
WAITING_BYTES_MAX = 128 * 1024


class Body(Protocol):
    """What has come of a body. aiohttp's StreamReader is one, and CountedBody."""

    def read_nowait(self) -> bytes:
        """All that waits. May raise what broke the body."""
        ...

    def is_eof(self) -> bool:
        """Whether all of it has come."""
        ...

    def at_eof(self) -> bool:
        """Whether all of it has come and was read."""
        ...


class Readable(Protocol):
    """The connection that a body comes from."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class CountedBody:
    """A body whose length the head states. Most answers that are no streams come whole in one read;
    then this is next to nothing, where a StreamReader takes a tenth of the request."""

    __slots__ = ("_connection", "_held", "_missing_bytes", "_waiting")

    def __init__(self, connection: Readable, body_bytes: int) -> None:
        self._connection = connection
        self._missing_bytes = body_bytes
        self._waiting = b""
        self._held = False  # the connection is paused until this is read

    def feed(self, data: bytes) -> bool:
        """Takes what has come. False if it is more than the body has: bytes behind it could be a
        next answer, so none of them is read."""
        missing = self._missing_bytes
        whole = len(data) <= missing
        if not whole:
            data = data[:missing]
        self._missing_bytes = missing - len(data)
        self._waiting = waiting = self._waiting + data if self._waiting else data
        if len(waiting) > WAITING_BYTES_MAX and not self._held:
            self._held = True
            self._connection.pause_reading()
        return whole

    def read_nowait(self) -> bytes:
        data, self._waiting = self._waiting, b""
        if self._held:
            self._held = False
            self._connection.resume_reading()
        return data

    def is_eof(self) -> bool:
        return self._missing_bytes == 0

    def at_eof(self) -> bool:
        return self._missing_bytes == 0 and not self._waiting
