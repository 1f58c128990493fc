"""The body of an answer, as who receives it reads it.

The head says how it ends: by its length, by its last chunk, or with the connection.
"""

from __future__ import annotations

from typing import Protocol

from proxy.core.http.chunked import ChunkedReader
from proxy.core.http.response_head import MalformedAnswer

# bytes that may wait for who receives them; beyond, the connection is read no further
WAITING_BYTES_MAX = 128 * 1024


class Readable(Protocol):
    """The connection that a body comes from."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Body:
    """What has come of a body and was not read yet. This one ends with its connection.

    surplus · bytes came behind it, which could be a next answer: none of them is read
    fault · why it can be read no further
    """

    __slots__ = ("_connection", "_held", "_waiting", "fault", "over", "surplus")

    def __init__(self, connection: Readable) -> None:
        self._connection = connection
        self._waiting = b""
        self._held = False  # the connection is paused until this is read
        self.over = False  # all of it has come
        self.surplus = False
        self.fault: MalformedAnswer | None = None

    @property
    def frees(self) -> bool:
        """Whether its connection may carry another answer."""
        return False

    @property
    def between_chunks(self) -> bool:
        """Whether the next byte begins a chunk."""
        return False

    def take(self, data: bytes) -> bytes:
        """The bytes of the body in what has come. Who calls it keeps them or passes them on."""
        return data

    def keep(self, piece: bytes) -> None:
        """So much of it waits to be read."""
        self._waiting = waiting = self._waiting + piece if self._waiting else piece
        if len(waiting) > WAITING_BYTES_MAX and not self._held:
            self._held = True
            self._connection.pause_reading()

    def closed(self) -> None:
        """The connection was closed in order."""
        self.over = True

    def read_nowait(self) -> bytes:
        """All that waits."""
        data, self._waiting = self._waiting, b""
        if self._held:
            self._held = False
            self._connection.resume_reading()
        return data

    def is_eof(self) -> bool:
        """Whether all of it has come."""
        return self.over

    def at_eof(self) -> bool:
        """Whether all of it has come and was read."""
        return self.over and not self._waiting


class CountedBody(Body):
    """A body whose length the head states."""

    __slots__ = ("_missing_bytes",)

    def __init__(self, connection: Readable, body_bytes: int) -> None:
        super().__init__(connection)
        self._missing_bytes = body_bytes
        self.over = body_bytes == 0

    @property
    def frees(self) -> bool:
        return self.over

    def take(self, data: bytes) -> bytes:
        missing = self._missing_bytes
        if len(data) > missing:
            data = data[:missing]
            self.surplus = True
        self._missing_bytes = missing - len(data)
        if missing == len(data):
            self.over = True
        return data

    def closed(self) -> None:
        """It is over or cut: its length says which."""


class WholeBody(Body):
    """A body that came whole in one read with its head, as most answers that are no streams do."""

    __slots__ = ()

    def __init__(self, connection: Readable, data: bytes) -> None:
        super().__init__(connection)
        self._waiting = data
        self.over = True

    @property
    def frees(self) -> bool:
        return True

    def take(self, data: bytes) -> bytes:
        """What comes now is not of this answer."""
        self.surplus = True
        return b""


class ChunkedBody(Body):
    """A body in chunks."""

    __slots__ = ("_reader",)

    def __init__(self, connection: Readable) -> None:
        super().__init__(connection)
        self._reader = ChunkedReader()

    @property
    def between_chunks(self) -> bool:
        return self._reader.between

    @property
    def frees(self) -> bool:
        # Nothing of a trailer can get into the next answer. But few servers send one, and what
        # they do next is not known.
        return self.over and not self._reader.trailed

    def take(self, data: bytes) -> bytes:
        reader = self._reader
        piece = reader.feed(data)
        if not reader.goes_on:
            self.over, self.surplus, self.fault = reader.over, reader.surplus, reader.fault
        return piece

    def closed(self) -> None:
        """It is over or cut: its last chunk says which."""
