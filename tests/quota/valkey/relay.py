"""A way to a server that can be cut, slowed and secured, between a store and its server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


class Relay:
    """Passes bytes both ways. While `holding`, no answer passes."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.to_port = to_port
        self.writes: list[bytes] = []  # what came from the client, read by read
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def hold(self) -> None:
        """Let no answer pass from now on."""
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """End all connections at once, with a reset where one is due."""
        for writer in [*self._writers]:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        await serving

    async def aclose(self) -> None:
        """End all, and wait until they have ended."""
        self.release()
        self.cut()
        while self._serving:
            await asyncio.wait([*self._serving])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            inside, outside = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, outside}
        await asyncio.gather(
            self._pass(reader, outside, answers=False), self._pass(inside, writer, answers=True)
        )
        self._writers -= {writer, outside}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if answers:
                    await self._passing.wait()
                else:
                    self.writes.append(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def relay(to_port: int, security: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A relay to a port of this machine."""
    passing = Relay(to_port)
    server = await asyncio.start_server(passing.serve, "127.0.0.1", 0, ssl=security)
    passing.port = server.sockets[0].getsockname()[1]
    try:
        yield passing
    finally:
        server.close()
        await passing.aclose()
