"""One connection to the server: what is asked in one turn of the event loop leaves in one write.

Answers come in the order of the questions. So an answer that nobody waits for any more, since its
caller was cancelled or gave up, is still read, and is never taken for another's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

Answered = Callable[[Any], None]  # with what was answered, or a `ServerError`
_NOT_YET = object()


class ServerError(Exception):
    """The server refuses a command; its text begins with a code, such as `READONLY`."""


class ConnectionLost(Exception):
    """The connection ended, or was never there. Nobody knows what was still carried out."""


def command(*words: bytes) -> bytes:
    """A command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(parts)


class Pipeline(asyncio.Protocol):
    """A pipeline of commands; `lost` is called once when it ends, with the reason."""

    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=_NOT_YET)
        self._waiting: deque[Answered] = deque()
        self._leaving: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def open(self) -> bool:
        """Whether something can be asked. It may still turn out to be lost."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, words: bytes, answered: Answered) -> None:
        """Send a command; `answered` is called with its answer, unless the connection is lost."""
        if not self._leaving:
            self._loop.call_soon(self._send)
        self._leaving.append(words)
        self._waiting.append(answered)

    async def call(self, *words: bytes) -> Any:
        """The answer to one command. Raises ServerError or ConnectionLost."""
        found: asyncio.Future[Any] = self._loop.create_future()

        def answered(answer: Any) -> None:
            if not found.done():
                found.set_result(answer)

        if not self.open:
            raise ConnectionLost("it is closed")
        self.ask(command(*words), answered)
        answer = await found
        if isinstance(answer, Exception):
            raise answer
        return answer

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            # Who gets an answer may end the connection: then all others were told that.
            while self._waiting is waiting and (answer := reader.gets()) is not _NOT_YET:
                waiting.popleft()(answer)
        except (hiredis.ProtocolError, IndexError) as error:
            # It does not speak the protocol, or answers what was not asked.
            self._end(ConnectionLost(f"the server's answer cannot be read: {error}"))

    def eof_received(self) -> None:
        """The server closes; the transport then calls `connection_lost`."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up(exc)

    def close(self, reason: Exception | None = None) -> None:
        """End it at once; what was asked and not answered is lost."""
        self._end(reason)

    def _send(self) -> None:
        leaving, self._leaving = self._leaving, []
        if self._transport is not None and leaving:
            self._transport.write(b"".join(leaving))

    def _end(self, reason: Exception | None) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._give_up(reason)

    def _give_up(self, reason: Exception | None) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._leaving.clear()
        lost, self._lost = self._lost, _ignore
        ended = ConnectionLost("it ended" if reason is None else str(reason) or repr(reason))
        for answered in waiting:
            answered(ended)
        lost(reason)


def _ignore(reason: Exception | None) -> None:
    """It has been told already."""


def fields(told: object) -> dict[str, str]:
    """What INFO tells, by name. Raises TypeError for what is no such answer."""
    if not isinstance(told, bytes):
        raise TypeError(f"INFO is answered by {told!r:.60}")
    text = told.decode("utf-8", "replace")
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in pairs if colon}
