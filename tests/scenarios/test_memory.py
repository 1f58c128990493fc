"""I1 and I12 by the process's memory: a large answer flows through and is not held, and clients
that do not read cost little."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.process import Process, proxy_process
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.waiting import guard

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc"
    ),
]

MiB = 1 << 20
GROWTH_MAX_BYTES = 16 * MiB
CLIENT_MAX_BYTES = 256 * 1024
ASK = b'{"model":"m-1","messages":[]}'
ASK_STREAM = b'{"model":"m-1","stream":true,"messages":[]}'
# As many tokens as a gibibyte of text can have: a count that cannot be one is not believed.
OUTPUT_TOKENS = 100_000_000
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":%d}}' % OUTPUT_TOKENS
JSON = (b'{"choices":[{"message":{"content":"', b"0123456789abcdef" * (MiB // 16), b'"}}],' + USAGE)
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
EVENTS = (
    b"",
    (TEXT % (b"x" * 960)) * (MiB // 1016),
    b'data: {"choices":[],' + USAGE + b"\n\ndata: [DONE]\n\n",
)
ONE_EVENT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"',
    b"0123456789abcdef" * (MiB // 16),
    b'"}}]}\n\ndata: {"choices":[],' + USAGE + b"\n\ndata: [DONE]\n\n",
)
SMALL = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'

ANSWERS = {
    "JSON": (ASK, "application/json", JSON),
    "events": (ASK_STREAM, "text/event-stream", EVENTS),
    "one event": (ASK_STREAM, "text/event-stream", ONE_EVENT),
}


def parts(kind: str, mebibytes: int) -> Iterator[bytes]:
    first, repeated, last = ANSWERS[kind][2]
    yield from (part for part in (first, *[repeated] * mebibytes, last) if part)


async def warm_up(proxy: Process) -> None:
    """One request, so that what is loaded once is loaded."""
    client = await RawClient.connect(proxy.address)
    await client.post(ASK)
    assert (await client.answer()).body == SMALL
    await client.aclose()


async def pieces(reader: asyncio.StreamReader, size: int | None) -> AsyncIterator[bytes]:
    """The body, of `size` bytes or chunked, in the pieces in which it arrives."""
    while True:
        left = int((await reader.readuntil(b"\r\n"))[:-2], 16) if size is None else size
        ends = left == 0 or size is not None
        while left:
            piece = await reader.read(min(left, 1 << 16))
            assert piece, "cut"
            left -= len(piece)
            yield piece
        if size is None:
            await reader.readexactly(2)
        if ends:
            return


async def large_answer(directory: Path, kind: str, mebibytes: int, *, slow: bool) -> int:
    """Relays one large answer; returns by how much the proxy's memory grew at the most, in
    bytes."""
    ask, content_type, _ = ANSWERS[kind]
    sent = sha256()

    async def script(visit: Visit) -> None:
        if not visits:
            visits.append(visit)
            await visit.answer(SMALL)
            return
        size = sum(map(len, parts(kind, mebibytes)))
        framing = f"Content-Length: {size}" if kind == "JSON" else "Transfer-Encoding: chunked"
        await visit.send(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()
        )
        for part in parts(kind, mebibytes):
            sent.update(part)
            await visit.send(part if kind == "JSON" else b"%x\r\n%b\r\n" % (len(part), part))
        if kind != "JSON":
            await visit.send(b"0\r\n\r\n")

    visits: list[Visit] = []
    async with raw_upstream(script) as upstream:
        with proxy_process(directory, upstream.url) as proxy:
            await warm_up(proxy)
            proxy.forget_peak()
            before = proxy.memory_bytes("VmHWM")
            reader, writer = await asyncio.open_connection(*proxy.address.split(":"), limit=1 << 17)
            await RawClient(reader, writer).post(ask)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = (
                int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                if b"content-length: " in head
                else None
            )
            received, count, pause_at = sha256(), 0, MiB
            async for piece in pieces(reader, size):
                received.update(piece)
                count += len(piece)
                if slow and count > pause_at:
                    pause_at = count + MiB
                    await asyncio.sleep(
                        0.005
                    )  # the client's own slowness: the proxy has to hold the upstream back
            peak = proxy.memory_bytes("VmHWM")
            writer.close()
            assert received.digest() == sent.digest()
            assert count >= mebibytes * MiB * 9 // 10
            async with guard():
                while len(rows := proxy.rows()) < 2:
                    await asyncio.sleep(0.01)
            assert (
                rows[1]["outcome"],
                rows[1]["source"],
                rows[1]["output_tokens"],
                rows[1]["bytes_out"],
            ) == ("completed", "reported", OUTPUT_TOKENS, count)
    return peak - before


@pytest.mark.parametrize(("kind", "slow"), [("JSON", False), ("events", True)])
async def test_a_large_answer_is_not_held(tmp_path: Path, kind: str, slow: bool) -> None:
    growth = await large_answer(tmp_path, kind, 64, slow=slow)
    print(f"{kind}, {'slow' if slow else 'fast'} reader: {growth / MiB:.1f} MiB")
    assert growth <= GROWTH_MAX_BYTES


@pytest.mark.campaign
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_of_a_gibibyte_is_not_held(tmp_path: Path, kind: str, slow: bool) -> None:
    growth = await large_answer(tmp_path, kind, 1024, slow=slow)
    print(f"{kind}, {'slow' if slow else 'fast'} reader: {growth / MiB:.1f} MiB")
    assert growth <= GROWTH_MAX_BYTES


async def unread(directory: Path, clients: int, chunk: bytes) -> float:
    """So many clients that ask for a stream without end and never read; returns what each costs the
    proxy, in bytes, once the upstream is paused for all."""
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        if visit.body == ASK:
            await visit.answer(SMALL)
            return
        framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        framed *= max(1, 8192 // len(framed))
        await visit.stream(end=False)
        try:
            while True:
                await visit.send(framed)
                sent += len(framed)
                await asyncio.sleep(0)
        finally:
            visit.reset()  # what is still buffered need not be sent

    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n%b"
        % (len(ASK_STREAM), ASK_STREAM)
    )
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        async with raw_upstream(script) as upstream:
            upstreams = {
                "mock": {
                    "base_url": upstream.url,
                    "api_key": "sk-upstream",
                    "connections_max": 2 * clients,
                }
            }
            with proxy_process(directory, upstream.url, upstreams=upstreams) as proxy:
                await warm_up(proxy)
                before = proxy.memory_bytes("VmRSS")
                host, _, port = proxy.address.partition(":")
                for _ in range(clients):
                    client = socket.socket()
                    sockets.append(client)
                    client.setblocking(False)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                    await loop.sock_connect(client, (host, int(port)))
                    await loop.sock_sendall(client, request)
                await standstill(lambda: sent if len(upstream.visits) > clients else None)
                cost = (proxy.memory_bytes("VmRSS") - before) / clients
                await warm_up(proxy)  # others are served meanwhile
                for client in sockets:
                    client.close()
                async with guard():
                    while len(rows := proxy.rows()) < clients + 2:
                        await asyncio.sleep(0.01)
                assert [row["outcome"] for row in rows].count("client_closed") == clients
                return cost
    finally:
        for client in sockets:
            client.close()
        await asyncio.sleep(0)  # the upstream's connections see their end


async def standstill(sent: Callable[[], int | None]) -> None:
    """Waits until nothing is sent any more: every upstream writer waits for the proxy, which waits
    for its clients."""
    still, last = 0, None
    while still < 10:
        await asyncio.sleep(0.05)
        still = still + 1 if sent() is not None and sent() == last else 0
        last = sent()


@pytest.mark.parametrize("size", [400, 60_000])
async def test_clients_that_do_not_read_cost_little(tmp_path: Path, size: int) -> None:
    cost = await unread(tmp_path, 50, TEXT % (b"x" * size))
    print(f"{cost / 1024:.0f} KiB a client, chunks of {size}")
    assert cost <= CLIENT_MAX_BYTES


@pytest.mark.campaign
@pytest.mark.parametrize("size", [400, 60_000])
async def test_a_thousand_clients_that_do_not_read_cost_little(tmp_path: Path, size: int) -> None:
    cost = await unread(tmp_path, 1000, TEXT % (b"x" * size))
    print(f"{cost / 1024:.0f} KiB a client, chunks of {size}")
    assert cost <= CLIENT_MAX_BYTES
