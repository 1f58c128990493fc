"""A way to the server that breaks at a commit, or goes silent."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

_COMMIT = b"COMMIT"
_READY = b"Z\0\0\0\5I"  # what the server says when a login, or a statement, is over


class Shim:
    """Passes bytes both ways between any number of clients and one port."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._losing: str | None = None
        self.silent = False  # what the server says is kept from the clients
        self.silent_from_login = False  # the same, for what it says behind a login
        self._connections = 0
        self._silent_up_to = 0
        self.port = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def lose_commit(self, way: str) -> None:
        """Break the next connection that commits: before it (`request`) or behind (`answer`)."""
        self._losing = way

    def silence_present(self) -> None:
        """Keep from the clients what the server says on connections that are there now."""
        self._silent_up_to = self._connections

    async def __aenter__(self) -> Shim:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for each in self._writers:
            each.transport.abort()  # a task that is cancelled while it ends would leave it open
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback is a task"
        self._tasks.add(task)
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += (writer, to_write)
        answers = asyncio.create_task(self._answer(to_read, writer))
        try:
            with contextlib.suppress(OSError):
                await self._requests(reader, to_write, answers)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            if self._losing == "answer":
                self._losing = None
                with contextlib.suppress(OSError):
                    await to_read.read(1)  # the server has committed
            for each in (writer, to_write):
                each.transport.abort()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        to_write: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        """Pass on what the client says, up to a commit that is to be lost."""
        while data := await reader.read(65536):
            if _COMMIT in data and self._losing is not None:
                answers.cancel()
                if self._losing == "answer":
                    to_write.write(data)
                else:
                    self._losing = None
                return
            to_write.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            logged_in, self._connections = False, self._connections + 1
            number = self._connections
            while data := await reader.read(65536):
                silent = number <= self._silent_up_to or (logged_in and self.silent_from_login)
                if not self.silent and not silent:
                    writer.write(data)
                logged_in = logged_in or _READY in data
            writer.transport.abort()
