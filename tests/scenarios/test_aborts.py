"""I6: no free tokens on abort. A client leaves at each chunk and at each await of an exchange;
every time there is one record of what was delivered, or
none where nothing was sent, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.dataplane.exchange import Exchange
from proxy.dataplane.upstream.pool import Pool
from tests.support.raw import RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import GUARD_S, until

ASK = b'{"model":"m-1","messages":[{"role":"user","content":"hi"}]}'
ASK_STREAM = b'{"model":"m-1","stream":true,"messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
)
DONE = b"data: [DONE]\n\n"
TEXTS = ["word ", "naïve ", "你好", "😀", 'say "x"\\\n', "x" * 40, "y" * 300]


def event(content: str, *, ascii_only: bool) -> bytes:
    return (
        b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n\n'
        % json.dumps(content, ensure_ascii=ascii_only).encode()
    )


def count(data: bytes) -> int:
    """Tokens of the text in these events, in the record's measure: a reading of its own, with a
    JSON parser."""
    size = 0
    for found in re.findall(rb"data: (\{.*\})\n\n", data):
        for choice in json.loads(found)["choices"]:
            size += len(choice["delta"]["content"].encode())
    return -(-size // 4)


def pool_of(proxy: Running) -> Pool:
    return proxy.pool


async def nothing_left(proxy: Running) -> None:
    """No open entry, no exchange, no request, no connection in use: soon, and without a restart."""
    services = proxy.server.services

    def left() -> tuple[int, ...]:
        in_use = pool_of(proxy).in_use
        return (
            proxy.server.open_exchanges,
            len(services.exchanges),
            services.drains.count,
            services.arriving.count + services.inflight.count,
            in_use,
            services.bodies.total_bytes,
        )

    try:
        await until(lambda: not any(left()))
    except TimeoutError:
        names = ("open entries", "exchanges", "drains", "requests", "connections", "body bytes")
        raise AssertionError(f"left behind: {dict(zip(names, left(), strict=True))}") from None


async def ask(proxy: Running, body: bytes = ASK_STREAM) -> RawClient:
    client = await RawClient.connect(proxy.address)
    await client.post(body)
    return client


# At each chunk.

CHUNK_ENDS = ("silence", "next chunk", "half a chunk")


async def leave_at_each_chunk(directory: Path, chunks_max: int, seed: int) -> None:
    """Leaves behind each chunk: in a silence, while the next chunk is under way, and while it has
    arrived by half; in order or by a reset."""
    rng = random.Random(seed)
    position, ending, chunks, reached = 0, "", [b""], asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.stream(end=False)
        for chunk in chunks[:position]:
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await reached.wait()
        late = chunks[position]
        with suppress(ConnectionError):
            if ending == "next chunk":
                await visit.send(b"%x\r\n%b\r\n" % (len(late), late))
            elif ending == "half a chunk":
                await visit.send(b"%x\r\n%b" % (len(late), late[: len(late) // 2]))
            await visit.reader.read()  # until the proxy lets go
        visit.reset()

    async with raw_upstream(script) as upstream, running(directory, config(upstream.url)) as proxy:
        for position in range(chunks_max):
            ending = rng.choice(CHUNK_ENDS)
            reached.clear()
            ascii_only = rng.random() < 0.5
            chunks = [
                b"".join(
                    event(rng.choice(TEXTS), ascii_only=ascii_only)
                    for _ in range(rng.choice([1, 1, 3]))
                )
                for _ in range(position + 1)
            ]
            client = await ask(proxy)
            await client.head()
            received = b""
            while len(received) < len(b"".join(chunks[:position])):
                received += await client.chunk()
            reached.set()
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)  # the upstream gets ahead by so much
            if rng.random() < 0.5:
                client.leave()
            else:
                await client.aclose()
            await nothing_left(proxy)
            row = (await proxy.records(position + 1))[-1]
            where = f"seed {seed}, chunk {position}, {ending}"
            assert (row["outcome"], row["source"]) == ("client_closed", "partial"), where
            low, high = count(received), count(received + chunks[position])
            assert low <= row["output_tokens"] <= high, (
                f"{where}: {row['output_tokens']} not in {low}..{high}"
            )
            assert row["input_tokens"] == -(-len(ASK_STREAM) // 4), where


async def test_leaving_behind_each_chunk(tmp_path: Path) -> None:
    await leave_at_each_chunk(tmp_path, 24, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10, 13))
async def test_leaving_behind_each_of_two_hundred_chunks(tmp_path: Path, seed: int) -> None:
    await leave_at_each_chunk(tmp_path, 200, seed)


# At each await.


async def silent(visit: Visit) -> None:
    await visit.reader.read()
    visit.reset()


@pytest.mark.parametrize("body", [ASK, ASK_STREAM], ids=["json", "stream"])
async def test_leaving_while_connecting_sends_nothing(tmp_path: Path, body: bytes) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filler = []
        try:
            for _ in range(3):  # nobody accepts, and then nobody more is let in
                filler.append(socket.socket())
                filler[-1].setblocking(False)
                with suppress(BlockingIOError):
                    filler[-1].connect(full.getsockname())
            async with running(
                tmp_path, config(f"http://127.0.0.1:{full.getsockname()[1]}/v1")
            ) as proxy:
                client = await ask(proxy, body)
                await until(lambda: pool_of(proxy).in_use)
                client.leave()
                await nothing_left(proxy)
                assert await proxy.records(0) == []
        finally:
            for one in filler:
                one.close()


async def test_leaving_in_the_line_for_a_connection_sends_nothing_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    release = asyncio.Event()

    async def script(visit: Visit) -> None:
        await release.wait()
        await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream:
        settings = config(
            upstream.url,
            upstreams={
                "mock": {"base_url": upstream.url, "api_key": "sk-upstream", "connections_max": 1}
            },
        )
        async with running(tmp_path, settings) as proxy:
            first = await ask(proxy, ASK)
            await until(lambda: upstream.visits)
            waiting = [await ask(proxy, ASK) for _ in range(3)]
            await until(lambda: len(pool_of(proxy)._waiting) == 3)
            waiting[0].leave()
            await until(lambda: proxy.server.services.inflight.count == 3)
            waiting[1].leave()
            release.set()
            assert (await first.answer()).body == (await waiting[2].answer()).body == ANSWER
            await nothing_left(proxy)
            assert len(await proxy.records(2)) == len(upstream.visits) == 2
            for client in (first, waiting[2]):
                await client.aclose()


@pytest.mark.parametrize(
    "place",
    [
        "a stream before its head",
        "a stream after [DONE]",
        "an answer before its head",
        "an answer by half",
    ],
)
async def test_leaving_before_and_behind(tmp_path: Path, place: str) -> None:
    reached, left = asyncio.Event(), asyncio.Event()
    body = ASK_STREAM if place.startswith("a stream") else ASK

    async def script(visit: Visit) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(ANSWER)
        )
        if place == "a stream after [DONE]":
            await visit.stream(event("abcd", ascii_only=True), USAGE, DONE, end=False)
        elif place == "an answer by half":
            await visit.send(head + ANSWER[:20])
        reached.set()
        if body is ASK_STREAM:
            await silent(visit)
        else:
            await left.wait()
            await visit.send(ANSWER[20:] if place == "an answer by half" else head + ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await ask(proxy, body)
        await reached.wait()
        if place == "a stream after [DONE]":
            await client.head()
            received = b""
            while not received.endswith(DONE):
                received += await client.chunk()
        elif place == "an answer by half":
            await client.reader.readuntil(b"\r\n\r\n")
        client.leave()
        await until(
            lambda: proxy.server.services.drains.count or not proxy.server.services.exchanges
        )
        left.set()
        await nothing_left(proxy)
        [row] = await proxy.records(1)
        expected = {
            "a stream before its head": ("client_closed", "partial", -(-len(ASK_STREAM) // 4), 0),
            "a stream after [DONE]": ("completed", "reported", 7, 3),
            "an answer before its head": ("client_closed", "reported", 7, 3),
            "an answer by half": ("client_closed", "reported", 7, 3),
        }
        assert (
            row["outcome"],
            row["source"],
            row["input_tokens"],
            row["output_tokens"],
        ) == expected[place]


async def test_leaving_while_the_upstream_is_held_back(tmp_path: Path) -> None:
    chunk = event("z" * 30_000, ascii_only=True)
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.stream(end=False)
        with suppress(ConnectionError):
            for _ in range(1000):
                sent += len(chunk)
                await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await ask(proxy)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]

        def held_back() -> bool:
            [exchange] = proxy.server.services.exchanges
            assert isinstance(exchange, Exchange)
            return (
                exchange.relay._connection is not None
                and exchange.relay._connection._reading_paused
            )

        await until(held_back)
        client.leave()
        await nothing_left(proxy)
        [row] = await proxy.records(1)
        passed = row["bytes_out"]
        assert isinstance(passed, int) and 0 < passed <= sent < 1000 * len(chunk)
        low, high = passed // len(chunk) * 30_000 // 4, -(-(passed // len(chunk) + 1) * 30_000 // 4)
        assert row["outcome"] == "client_closed" and low <= row["output_tokens"] <= high  # type: ignore[operator]


@asynccontextmanager
async def held_syncs(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[threading.Event, threading.Event]]:
    """A disk whose syncs wait: `asked` is set when one has begun, and it ends when `go` is."""
    asked, go = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        asked.set()
        go.wait(GUARD_S)
        os.fdatasync(descriptor)

    go.set()
    monkeypatch.setattr("proxy.journal.disk.SystemDisk.fdatasync", staticmethod(slow))
    try:
        yield asked, go
    finally:
        go.set()


def synced(directory: Path, upstream: RawUpstream) -> AbstractAsyncContextManager[Running]:
    return running(directory, config(upstream.url, journal={"segment": "1MiB", "sync": "always"}))


@pytest.mark.parametrize("body", [ASK, ASK_STREAM], ids=["json", "stream"])
async def test_leaving_while_the_opening_is_synced_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async with (
        held_syncs(monkeypatch) as (asked, go),
        raw_upstream(silent) as upstream,
        synced(tmp_path, upstream) as proxy,
    ):
        go.clear()
        asked.clear()
        client = await ask(proxy, body)
        await until(asked.is_set)
        await until(lambda: proxy.server.open_exchanges)
        client.leave()
        await until(
            lambda: all(
                exchange.relay._left
                for exchange in proxy.server.services.exchanges
                if isinstance(exchange, Exchange)
            )
        )
        go.set()
        await nothing_left(proxy)
        assert (await proxy.records(0), upstream.visits) == ([], [])


async def test_leaving_while_the_record_is_synced_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(visit: Visit) -> None:
        go.clear()
        await visit.stream(event("abcd", ascii_only=True), USAGE, DONE)

    async with (
        held_syncs(monkeypatch) as (_, go),
        raw_upstream(script) as upstream,
        synced(tmp_path, upstream) as proxy,
    ):
        client = await ask(proxy)
        await until(lambda: upstream.visits and not proxy.server.services.exchanges)
        assert proxy.server.services.inflight.count == 1  # settled, and waiting for the disk
        client.leave()
        await asyncio.sleep(0)
        go.set()
        await nothing_left(proxy)
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"]) == ("completed", 3)


async def test_a_shutdown_books_what_was_delivered_and_drops_what_was_not_sent(
    tmp_path: Path,
) -> None:
    reached = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.stream(event("abcd", ascii_only=True), end=False)
        reached.set()
        await silent(visit)

    async with raw_upstream(script) as upstream:
        upstreams = {
            "mock": {"base_url": upstream.url, "api_key": "sk-upstream", "connections_max": 1}
        }
        async with running(
            tmp_path,
            config(upstream.url, upstreams=upstreams, drain={"delay": "0s", "timeout": "0s"}),
        ) as proxy:
            served, waiting = await ask(proxy), await ask(proxy, ASK)
            await reached.wait()
            await served.head()
            await served.chunk()
            await until(lambda: pool_of(proxy)._waiting)
        assert await served.closed()
        await waiting.aclose()
        [row] = proxy.rows()
        assert (row["outcome"], row["source"], row["output_tokens"]) == (
            "interrupted",
            "estimated",
            1,
        )
        assert (proxy.server.open_exchanges, len(upstream.visits)) == (0, 1)


# Many of them.


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def abort_many(directory: Path, total: int, seed: int) -> None:
    """Clients that leave at random moments, a dozen at a time: each that reached the upstream is
    booked once, and nothing grows."""
    rng = random.Random(seed)

    async def script(visit: Visit) -> None:
        with suppress(ConnectionError):
            if b'"stream":true' in visit.body:
                await visit.stream(
                    *(event(text, ascii_only=False) for text in TEXTS * 3), USAGE, DONE
                )
            else:
                await visit.answer(ANSWER)

    async def one() -> None:
        client = await RawClient.connect(proxy.address)
        request = rng.choice([ASK, ASK_STREAM])
        wire = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n%b"
            % (len(request), request)
        )
        await client.send(wire if rng.random() < 0.9 else wire[: rng.randrange(len(wire))])
        with suppress(ConnectionError, TimeoutError):
            if rng.random() < 0.3:
                async with asyncio.timeout(
                    0.05
                ):  # its request may have been cut off, and then nothing comes
                    await client.reader.read(rng.randrange(1, 3000))
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
        client.leave()

    async with (
        raw_upstream(script) as upstream,
        running(
            directory,
            config(
                upstream.url,
                upstreams={
                    "mock": {
                        "base_url": upstream.url,
                        "api_key": "sk-upstream",
                        "connections_max": 6,
                    }
                },
            ),
        ) as proxy,
    ):
        await one()
        before = None
        for _ in range(total // 12):
            await asyncio.gather(*(one() for _ in range(12)))
            await nothing_left(proxy)
            await until(lambda: not proxy.server.front.listener.connections)
            before = descriptors() if before is None else before
        # Both ends of each connection in the pool are this process's.
        assert descriptors() <= before + 2 * 6, "connections are left open"  # type: ignore[operator]
        rows = await proxy.records(len(upstream.visits))
        assert len({row["id"] for row in rows}) == len(rows) > total // 4


async def test_three_hundred_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    await abort_many(tmp_path, 300, seed=1)


@pytest.mark.campaign
async def test_ten_thousand_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    await abort_many(tmp_path, 10_000, seed=2)
