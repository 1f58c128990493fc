"""A body is read whole, within its bounds; the stream is aiohttp's own, fed by hand."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from proxy.core.errors import ProxyError
from proxy.dataplane import request_body
from proxy.dataplane.request_body import read_body
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running


def stream(*parts: bytes, end: bool = True) -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    made = StreamReader(protocol, 1 << 16, loop=loop)
    for part in parts:
        made.feed_data(part)
    if end:
        made.feed_eof()
    return made


async def read(body: StreamReader, **bounds: float) -> bytes:
    untold: list[int] = []
    return await read_body(
        body,
        arrived=untold.append,
        **{"bytes_max": 10, "idle_s": 30.0, "rate_min_bytes_s": 1024, **bounds},
    )  # type: ignore[arg-type]


async def test_what_is_there_and_what_comes_later_is_read_whole() -> None:
    assert await read(stream()) == b""
    assert await read(stream(b"one")) == b"one"
    waiting = stream(b"one", end=False)
    reading = asyncio.create_task(read(waiting))
    await asyncio.sleep(0)
    waiting.feed_data(b" two")
    waiting.feed_eof()
    assert await reading == b"one two"


async def test_each_part_is_told_as_it_arrives() -> None:
    told: list[int] = []
    assert (
        await read_body(
            stream(b"abc"), bytes_max=10, idle_s=1.0, rate_min_bytes_s=1, arrived=told.append
        )
        == b"abc"
    )
    assert told == [3]


@pytest.mark.parametrize(
    ("size", "end", "bounds", "status", "code"),
    [
        (11, True, {}, 413, "body_too_large"),
        (3, False, {"idle_s": 0.01}, 408, "request_timeout"),
        (0, False, {"idle_s": 0.01}, 408, "request_timeout"),
    ],
)
async def test_bounds_of_size_and_time(
    size: int, end: bool, bounds: dict[str, float], status: int, code: str
) -> None:
    with pytest.raises(ProxyError) as refused:
        await read(stream(b"x" * size, end=end), **bounds)
    assert (refused.value.status, refused.value.code, refused.value.close) == (status, code, True)


@pytest.mark.parametrize(
    "fault", [web.RequestPayloadError("bad chunk"), ConnectionResetError("gone")]
)
async def test_broken_framing_is_the_clients_fault(fault: Exception) -> None:
    body = stream(b"abc", end=False)
    body.set_exception(fault)
    with pytest.raises(ProxyError) as refused:
        await read(body)
    assert (refused.value.status, refused.value.code, refused.value.close) == (
        400,
        "invalid_request",
        True,
    )


TEXT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"abcd"}}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
SMALL = b'{"model":"m","stream":true,"messages":[]}'
OURS = str(Path(request_body.__file__).parents[1] / "*")


@pytest.mark.parametrize("size", [15_000, 60_000, 400_000])
async def test_an_open_stream_keeps_nothing_of_its_requests_body(tmp_path: Path, size: int) -> None:
    """Nor does the second one of a connection, whose body may come in one piece with its head."""
    go_on = asyncio.Event()
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (
        b"x" * size
    )

    async def script(visit: Visit) -> None:
        await visit.stream(TEXT, end=False)
        await go_on.wait()
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(USAGE), USAGE))

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        held = []
        for sent in (SMALL, body, body):
            go_on.clear()
            tracemalloc.start()
            await client.post(sent)
            await client.head()
            await client.chunk()
            found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, OURS)])
            tracemalloc.stop()
            held.append(max(line.size for line in found.statistics("lineno")))
            go_on.set()
            while await client.chunk():
                pass
        await client.aclose()
        await proxy.records(3)
    # The first one also makes what is there once.
    assert max(held[1:]) < size / 2
