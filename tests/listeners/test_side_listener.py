"""The listeners beside the data plane: nobody holds a connection that brings no request or takes no
answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from proxy.listeners import side_listener
from tests.support.raw import RawClient
from tests.support.waiting import guard, until

LARGE = b"x" * (32 << 20)  # more than the kernel takes for a client that does not read


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=LARGE if request.path == "/large" else b"ok")


async def size(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


def app() -> web.Application:
    made = web.Application()
    for path in ("/large", "/small"):
        made.router.add_get(path, answer)
    made.router.add_post("/size", size)
    return made


@pytest_asyncio.fixture
async def runner() -> AsyncIterator[web.AppRunner]:
    """One that waits a moment for heads, at `runner.addresses[0]`."""
    made = side_listener.runner(app(), 0.1, stop_s=0.1)
    await made.setup()
    await web.TCPSite(made, "127.0.0.1", 0).start()
    yield made
    await made.cleanup()


async def connect(runner: web.AppRunner) -> RawClient:
    return await RawClient.connect(":".join(map(str, runner.addresses[0])))


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /small HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"])
async def test_a_head_that_does_not_come_ends_its_connection(
    runner: web.AppRunner, begun: bytes
) -> None:
    client = await connect(runner)
    await client.send(begun)
    async with guard():
        assert await client.closed()


async def test_a_head_that_comes_in_drops_is_not_waited_for(runner: web.AppRunner) -> None:
    """Each byte must not begin the time anew."""
    client = await connect(runner)
    await client.send(b"GET /small HTTP/1.1\r\nX: ")

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    async with guard():
        assert await client.closed()
    dripping.cancel()


@pytest.mark.parametrize("path", ["/small", "/nothing"])
async def test_a_connection_is_for_one_request(runner: web.AppRunner, path: str) -> None:
    client = await connect(runner)
    await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 50)
    async with guard():
        sent = await client.reader.read(-1)
    assert sent.count(b"HTTP/1.1 ") == 1
    await client.aclose()


async def test_an_answer_that_nobody_reads_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, runner: web.AppRunner
) -> None:
    monkeypatch.setattr(side_listener, "TAKEN_S", 0.05)
    assert runner.server is not None
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow.connect(runner.addresses[0])
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: runner.server.requests_count == 1)  # type: ignore[union-attr]
        await until(lambda: not runner.server.connections)  # type: ignore[union-attr]


async def test_a_body_is_not_decompressed(runner: web.AppRunner) -> None:
    """aiohttp would do it on the event loop, also for a stranger: 2 KB of Brotli took ten
    seconds."""
    sent = gzip.compress(b"x" * 10_000)
    async with aiohttp.ClientSession() as client:
        answer = await client.post(
            "http://{}:{}/size".format(*runner.addresses[0]),
            data=sent,
            headers={"Content-Encoding": "gzip"},
        )
        assert await answer.text() == str(len(sent))


async def test_bodies_that_nobody_reads_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_listener, "LINGER_S", 3600.0)
    monkeypatch.setattr(side_listener, "TAKEN_S", 3600.0)
    monkeypatch.setattr(side_listener, "CONNECTIONS_MAX", 2)
    made = side_listener.runner(app(), 3600.0, stop_s=0.1)
    await made.setup()
    acceptor, (host, port) = await side_listener.listen(made, "127.0.0.1", 0)
    strangers = [await RawClient.connect(f"{host}:{port}") for _ in range(2)]
    for one in strangers:
        await one.send(b"GET /small HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        async with guard():
            assert (await one.reader.readline()).startswith(b"HTTP/1.1 200 ")
    client = await RawClient.connect(f"{host}:{port}")
    await client.send(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
    async with guard():
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")
    for one in (*strangers, client):
        await one.aclose()
    acceptor.close()
    await made.cleanup()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"c4n4ry" * 1500),
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % (b"c4n4ry" * 1500),
        b"GET / HTTP/1.1\r\nHost: x\r\nc4n4ry\x00: b\r\n\r\n",
        b"GET http://[c4n4ry HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n"
        % b"".join(b"c4n4ry%d: y\r\n" % n for n in range(999)),
    ],
    ids=["request line", "header", "NUL", "target", "many headers"],
)
async def test_what_is_no_request_is_400_and_one_line_in_the_log(
    runner: web.AppRunner, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    client = await connect(runner)
    await client.send(head)
    async with guard():
        assert (await client.answer()).status == 400
    await client.aclose()
    [line] = caplog.records
    assert line.levelname == "WARNING" and line.exc_info is None
    assert line.getMessage().startswith("a request that cannot be read was answered 400 (")
    assert "c4n4ry" not in caplog.text and "Traceback" not in caplog.text
