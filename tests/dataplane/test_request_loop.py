"""The requests of one connection: in their order, and what is counted behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.dataplane.request_loop import _behind
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running

HEAD = b"POST /x HTTP/1.1\r\nHost: p\r\n\r\n"


def reader(body: bytes, *, whole: bool) -> StreamReader:
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 65536, loop=loop)
    stream.feed_data(body)
    if whole:
        stream.feed_eof()
    return stream


@pytest.mark.parametrize(
    ("body", "whole", "more", "behind"),
    [
        (b"", True, b"", 0),
        (b"abc", True, b"", 0),
        (b"abc", True, b"GET /y HT", 9),
        (b"abc", False, b"", 0),
    ],
)
async def test_bytes_behind_a_whole_request_are_counted(
    body: bytes, whole: bool, more: bytes, behind: int
) -> None:
    assert _behind(HEAD + body + more, reader(body, whole=whole)) == behind


def test_a_request_without_a_body_has_all_else_behind_it() -> None:
    assert _behind(HEAD + b"GET", EMPTY_PAYLOAD) == 3


async def test_answers_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"choices":[]}')

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        body = b'{"model":"m","messages":[]}'
        get = b"GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n"
        post = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        await client.send(get + post + body + get)
        bodies = [(await client.answer()).body for _ in range(3)]
        await client.aclose()
    assert bodies == [b'{"status":"ok"}', b'{"choices":[]}', b'{"status":"ok"}']
