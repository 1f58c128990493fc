"""A scripted raw TCP upstream and a raw HTTP client: tests say exactly which bytes are sent, when,
and see exactly which arrive."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Script = Callable[["Visit"], Awaitable[None]]


@dataclass
class Visit:
    """One request as an upstream received it, and the means to answer it."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def lines(self) -> list[bytes]:
        return self.head.split(b"\r\n")

    def header(self, name: str) -> bytes | None:
        for line in self.lines[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return value.strip()
        return None

    async def send(self, *parts: bytes) -> None:
        """Each part as a write of its own, flushed."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(
        self,
        body: bytes,
        *,
        status: str = "200 OK",
        headers: tuple[str, ...] = ("Content-Type: application/json",),
    ) -> None:
        lines = "".join(f"{line}\r\n" for line in headers)
        await self.send(
            f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
            + body
        )

    async def stream(
        self,
        *chunks: bytes,
        end: bool = True,
        headers: tuple[str, ...] = ("Content-Type: text/event-stream",),
    ) -> None:
        lines = "".join(f"{line}\r\n" for line in headers)
        await self.send(
            f"HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n".encode("latin-1")
        )
        for chunk in chunks:
            await self.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if end:
            await self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class RawUpstream:
    """A TCP server on loopback that runs `script` for each request it receives; keep-alive unless
    the script closes."""

    url: str
    visits: list[Visit] = field(default_factory=list)
    accepted: list[asyncio.StreamWriter] = field(default_factory=list)  # one a connection


@contextlib.asynccontextmanager
async def raw_upstream(
    script: Script, context: ssl.SSLContext | None = None
) -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream("")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        upstream.accepted.append(writer)
        try:
            while True:
                visit = await read_request(reader, writer)
                upstream.visits.append(visit)
                await script(visit)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    origin = "http://127.0.0.1" if context is None else "https://localhost"
    upstream.url = f"{origin}:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Visit:
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    visit = Visit(head, b"", reader, writer)
    length = visit.header("content-length")
    if length is not None:
        visit.body = await reader.readexactly(int(length))
    return visit


@dataclass
class RawAnswer:
    """A response as its bytes came; `whole` says whether its framing was complete."""

    status: int
    head: bytes
    body: bytes
    whole: bool

    def header(self, name: str) -> bytes | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return value.strip()
        return None


class RawClient:
    """One connection to the proxy, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: str) -> RawClient:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=1 << 24))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def post(
        self,
        body: bytes,
        *,
        path: str = "/v1/chat/completions",
        key: str = "sk-test",
        headers: tuple[str, ...] = (),
    ) -> None:
        lines = "".join(f"{line}\r\n" for line in headers)
        head = f"POST {path} HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{lines}"
        await self.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)

    async def head(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n"))[:-4]
        return int(head.split(b" ", 2)[1]), head

    async def answer(self) -> RawAnswer:
        return await self.rest(*await self.head())

    async def rest(self, status: int, head: bytes) -> RawAnswer:
        """The answer whose head was read."""
        answer = RawAnswer(status, head, b"", False)
        try:
            if (answer.header("transfer-encoding") or b"").lower() == b"chunked":
                while True:
                    size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
                    answer.body += (await self.reader.readexactly(size + 2))[:-2]
                    if size == 0:
                        break
            elif (length := answer.header("content-length")) is not None:
                answer.body = await self.reader.readexactly(int(length))
            elif status not in (204, 304):
                answer.body = await self.reader.read(-1)
            answer.whole = True
        except asyncio.IncompleteReadError as error:
            answer.body += error.partial
        except ConnectionError:
            pass
        return answer

    async def chunk(self) -> bytes:
        """The next chunk of a chunked answer."""
        size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def closed(self) -> bool:
        """Waits until the proxy closes; True if it sent nothing more."""
        try:
            return await self.reader.read(-1) == b""
        except ConnectionError:
            return True
        finally:
            await self.aclose()

    def leave(self) -> None:
        """Gone without a word."""
        self.writer.transport.abort()

    async def aclose(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
