"""Request bodies in memory: counted when they are here, until they are sent, and one key's never
keep all others out."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
SMALL = b'{"model":"m"}'
KEYS = {
    "alice": {"team": "research", "secret": "sk-test"},
    "bob": {"team": "research", "secret": "sk-bob"},
}
MIB = 1 << 20


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def ask(proxy: Running, key: str, body: bytes = SMALL) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(body, key=key)
    answer = await client.answer()
    await client.aclose()
    return answer


async def declare(proxy: Running, length: int, body: bytes) -> RawClient:
    """Sends a head that promises so much, and no more than `body` of it."""
    client = await RawClient.connect(proxy.address)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n"
    await client.send(head % length + body)
    return client


async def test_what_is_declared_and_not_sent_keeps_nobody_out(tmp_path: Path) -> None:
    bodies = {"max": "1MiB", "total_max": "4MiB"}
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, bodies=bodies, keys=KEYS)) as proxy,
    ):
        declared = [await declare(proxy, MIB, b"{") for _ in range(16)]
        parts = proxy.server.services
        await until(
            lambda: parts.arriving.count == len(declared) or parts.bodies.total_bytes >= 4 * MIB
        )
        assert parts.bodies.total_bytes == len(declared)
        assert [(await ask(proxy, key)).status for key in ("sk-bob", "sk-test")] == [200, 200]
        for client in declared:
            client.leave()
        await until(
            lambda: (
                proxy.server.services.bodies.total_bytes == 0
                and not proxy.server.services.bodies.by_key
            )
        )


async def test_one_key_fills_its_share_and_no_more(tmp_path: Path) -> None:
    bodies = {
        "max": "1MiB",
        "total_max": "4MiB",
    }  # of which one key gets room for a body and its two copies
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, bodies=bodies, keys=KEYS)) as proxy,
    ):
        most = [await declare(proxy, MIB, b"{" * (MIB - 1)) for _ in range(3)]
        await until(lambda: proxy.server.services.bodies.total_bytes == 3 * (MIB - 1))
        refused = await ask(proxy, "sk-test", b'{"model":"m","x":"%b"}' % (b"x" * 1000))
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (503, "overloaded")
        assert b"of this key" in refused.body
        assert (await ask(proxy, "sk-bob", b'{"model":"m","x":"%b"}' % (b"x" * 1000))).status == 200
        for client in most:
            client.leave()
        await until(lambda: proxy.server.services.bodies.total_bytes == 0)


async def test_a_body_is_counted_until_its_upstream_has_taken_it(tmp_path: Path) -> None:
    reading = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        length = int(
            (await reader.readuntil(b"\r\n\r\n"))
            .lower()
            .split(b"content-length: ")[1]
            .split(b"\r\n")[0]
        )
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        await silence.wait()
        writer.close()

    silence = asyncio.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the kernel is no hiding place
    server = await asyncio.start_server(serve, sock=listening, limit=1 << 16)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    big = b'{"model":"m","x":"%b"}' % (b"x" * (6 * MIB - 100))
    async with running(
        tmp_path, config(url, bodies={"max": "6MiB", "total_max": "16MiB"}, keys=KEYS)
    ) as proxy:
        parts = proxy.server.services
        slow = [asyncio.create_task(ask(proxy, "sk-test", big)) for _ in range(2)]
        await until(lambda: len(parts.exchanges) == 2)
        counted = parts.bodies.total_bytes
        refused = await ask(proxy, "sk-bob", big) if counted else None
        reading.set()
        answers = await asyncio.gather(*slow)
        await until(lambda: parts.bodies.total_bytes == 0)
        silence.set()
        assert counted == 2 * len(big), "they are sent to an upstream that does not read"
        assert refused is not None and refused.status == 503
        assert [answer.status for answer in answers] == [200, 200]
    server.close()
