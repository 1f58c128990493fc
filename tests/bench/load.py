"""The load: requests over connections that stay open, closed or open loop, in this process.

Closed: each connection sends its next request when the last answer is whole. Open: requests are
due at a fixed rate, whether the answers come or not, and waiting for a connection counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic_ns, perf_counter

_SENT = re.compile(rb" @([0-9]{18})")


@dataclass
class Seen:
    """What the callers saw: of each answer how long it took, of each paced chunk how long it was on
    its way. In seconds."""

    latencies_s: list[float] = field(default_factory=list)
    deliveries_s: list[float] = field(default_factory=list)
    took_s: float = 0.0


def request(
    port: int,
    *,
    prompt_bytes: int = 900,
    headers: Mapping[str, str] | None = None,
    **options: bool | str | int,
) -> bytes:
    """A request as bytes. `stream` and what the mock reads from a body: `paced`, `slow`, `silent`,
    `vendor`, `chunks`. `headers` come behind the usual ones."""
    asked = {"stream_options": {"include_usage": True}} if options.get("stream") else {}
    messages = [{"role": "user", "content": "y" * prompt_bytes}]
    fields = {"model": "bench", "messages": messages, **asked, **options}
    body = json.dumps(fields, separators=(",", ":")).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Authorization: Bearer sk-bench\r\nContent-Type: application/json\r\nAccept: */*\r\n"
        f"User-Agent: bench\r\n{more}"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Caller(asyncio.Protocol):
    """One connection. An answer is whole at its Content-Length, or at the last chunk of a chunked
    one. `every_s`: its requests are due so often; None: as soon as the last answer is whole."""

    def __init__(
        self,
        payload: bytes,
        over: asyncio.Event,
        seen: Seen,
        deadline_s: float,
        every_s: float | None = None,
    ) -> None:
        self.payload = payload
        self.over = over
        self.seen = seen
        self.deadline_s = deadline_s
        self.every_s = every_s
        # Bytes of the body still to come; None: head not seen; -1: chunked.
        self.missing: int | None = None
        self.buffer = b""
        self.due_s = perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.next()

    def next(self) -> None:
        now_s = perf_counter()
        if now_s >= self.deadline_s:
            self.transport.close()
            return
        self.due_s = now_s if self.every_s is None else self.due_s + self.every_s
        if self.due_s > now_s:
            asyncio.get_running_loop().call_later(self.due_s - now_s, self.send)
        else:
            self.send()

    def send(self) -> None:
        self.missing = None
        self.buffer = b""
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        for sent in _SENT.findall(data):
            self.seen.deliveries_s.append((monotonic_ns() - int(sent)) / 1e9)
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
            self.seen.latencies_s.append(perf_counter() - self.due_s)
            self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


async def run(
    port: int, payload: bytes, connections: int, duration_s: float, *, rate: float | None = None
) -> Seen:
    """Loads a port for so long. `rate`: requests a second in an open loop."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    started_s = perf_counter()
    every_s = None if rate is None else connections / rate
    events = [asyncio.Event() for _ in range(connections)]
    for over in events:
        await loop.create_connection(
            lambda over=over: Caller(payload, over, seen, started_s + duration_s, every_s),
            "127.0.0.1",
            port,
        )  # type: ignore[misc]
    for over in events:
        await over.wait()
    seen.took_s = perf_counter() - started_s
    return seen


@contextlib.asynccontextmanager
async def open_streams(port: int, payload: bytes, count: int):
    """So many streams that are open meanwhile; each has its head and first chunk."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    transports = []
    for _ in range(count):
        transport, _ = await loop.create_connection(
            lambda: Caller(payload, asyncio.Event(), seen, perf_counter() + 600), "127.0.0.1", port
        )
        transports.append(transport)
    while len(seen.deliveries_s) < count:
        await asyncio.sleep(0.05)
    yield
    for transport in transports:
        transport.abort()
