"""A closed-loop load: each connection sends its next request when the last answer is whole.
In-process; returns counts and latencies."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter

BODY = {"model": "bench", "messages": [{"role": "user", "content": "y" * 900}]}


def request(port: int, *, stream: bool = False, paced: bool = False) -> bytes:
    extra = (
        {
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"paced": True} if paced else {}),
        }
        if stream
        else {}
    )
    body = json.dumps({**BODY, **extra}, separators=(",", ":")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer sk-bench\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Caller(asyncio.Protocol):
    """One connection. An answer is whole at its Content-Length, or at the last chunk of a chunked
    one."""

    def __init__(
        self, payload: bytes, over: asyncio.Event, latencies_s: list[float], deadline_s: float
    ) -> None:
        self.payload = payload
        self.over = over
        self.latencies_s = latencies_s
        self.deadline_s = deadline_s
        self.missing: int | None = (
            None  # bytes of the body still to come; None: head not seen; -1: chunked
        )
        self.buffer = b""
        self.started_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.next()

    def next(self) -> None:
        now_s = perf_counter()
        if now_s >= self.deadline_s:
            self.transport.close()
            return
        self.started_s = now_s
        self.missing = None
        self.buffer = b""
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        if self.missing is None:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.buffer[:end].lower(), self.buffer[end + 4 :]
            assert head.startswith(b"http/1.1 200"), self.buffer
            at = head.find(b"content-length:")
            self.missing = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
            self.buffer = b""
        if self.missing >= 0:
            self.missing -= len(data)
            whole = self.missing == 0
        else:
            self.buffer = (self.buffer + data)[-8:]
            whole = self.buffer.endswith(b"\r\n0\r\n\r\n")
        if whole:
            self.latencies_s.append(perf_counter() - self.started_s)
            self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


async def run(
    port: int, payload: bytes, connections: int, duration_s: float
) -> tuple[list[float], float]:
    """Latencies of all answers, and the time it took, in seconds."""
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    started_s = perf_counter()
    events = [asyncio.Event() for _ in range(connections)]
    for over in events:
        await loop.create_connection(
            lambda over=over: Caller(payload, over, latencies_s, started_s + duration_s),
            "127.0.0.1",
            port,
        )  # type: ignore[misc]
    for over in events:
        await over.wait()
    return latencies_s, perf_counter() - started_s
