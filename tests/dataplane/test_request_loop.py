"""The requests of one connection: in their order, and what is counted behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.dataplane.listener import Listener
from proxy.dataplane.request_loop import RequestLoop, _behind
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

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


def post(body: bytes, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in fields)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n"
        f"Content-Type: application/json\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def chunked(body: bytes) -> bytes:
    head, _, _ = post(body).partition(b"Content-Length")
    size = len(body) // 2
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:size], body[size:], b"")
    )
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces


def body_of(text: str) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % text.encode()


def listening(proxy: Running) -> Listener:
    return proxy.server.front.listener


def only_connection(proxy: Running) -> RequestLoop:
    (connection,) = listening(proxy).connections
    assert isinstance(connection, RequestLoop)
    return connection


GET = b"GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n"
SHAPES: dict[str, tuple[list[bytes], list[str]]] = {
    "the same": ([post(body_of("b"))], ["b"]),
    "another length": ([post(body_of("b" * 999))], ["b" * 999]),
    "another field": ([post(body_of("b"), "X-A: 1"), post(body_of("c"))], ["b", "c"]),
    "two at once": ([post(body_of("b")) + post(body_of("c"))], ["b", "c"]),
    "chunks": ([chunked(body_of("b")), chunked(body_of("c"))], ["b", "c"]),
    "a torn head": ([post(body_of("b"))[:9], post(body_of("b"))[9:]], ["b"]),
    "a torn body": ([post(body_of("b" * 80))[:-50], post(body_of("b" * 80))[-50:]], ["b" * 80]),
    "a large body": ([post(body_of("b" * 400_000))], ["b" * 400_000]),
    "no body": ([GET, post(body_of("b"))], ["b"]),
    "an empty line first": ([b"\r\n" + post(body_of("b"))], ["b"]),
    "expects to go on": (
        [post(body_of("b"), "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"],
        ["b"],
    ),
    "a head, then its next one": ([post(body_of("b")) + GET[:5], GET[5:]], ["b"]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("between_pieces", [False, True])
async def test_a_connection_without_its_parser_takes_whatever_comes(
    tmp_path: Path, reads: list[bytes], shape: str, between_pieces: bool
) -> None:
    got: list[bytes] = []

    async def script(visit: Visit) -> None:
        got.append(visit.body)
        await visit.answer(b'{"choices":[]}')

    pieces, prompts = SHAPES[shape]
    answers = len(prompts) + b"".join(pieces).count(b"GET /h")
    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(post(body_of("a")))
        assert (await client.answer()).status == 200
        connection = only_connection(proxy)
        await until(lambda: connection.waits)
        listening(proxy).sweep(monotonic())
        assert connection._parser is None
        for piece in pieces:
            before = len(reads)
            await client.send(piece)
            await until(lambda before=before: len(reads) > before)  # type: ignore[misc]
            if between_pieces:
                listening(proxy).sweep(monotonic())
        if shape == "expects to go on":
            assert (await client.head())[0] == 100
            await client.send(body_of("b"))
        for _ in range(answers):
            assert (await client.answer()).status == 200
        await client.aclose()
        await proxy.records(1 + len(prompts))
    assert got == [body_of("a"), *map(body_of, prompts)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What clients' connections have read."""
    seen: list[bytes] = []
    read = RequestLoop.data_received

    def watched(self: RequestLoop, data: bytes) -> None:
        read(self, data)
        seen.append(data)

    monkeypatch.setattr(RequestLoop, "data_received", watched)
    return seen


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_new_connection_takes_whatever_comes_while_another_has_the_same_head(
    tmp_path: Path, reads: list[bytes], shape: str
) -> None:
    got: list[bytes] = []

    async def script(visit: Visit) -> None:
        got.append(visit.body)
        await visit.answer(b'{"choices":[]}')

    pieces, prompts = SHAPES[shape]
    answers = len(prompts) + b"".join(pieces).count(b"GET /h")
    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        earlier = await RawClient.connect(proxy.address)
        await earlier.send(post(body_of("a")))
        assert (await earlier.answer()).status == 200
        client = await RawClient.connect(proxy.address)
        for piece in pieces:
            before = len(reads)
            await client.send(piece)
            await until(lambda before=before: len(reads) > before)  # type: ignore[misc]
        if shape == "expects to go on":
            assert (await client.head())[0] == 100
            await client.send(body_of("b"))
        for _ in range(answers):
            assert (await client.answer()).status == 200
        await client.aclose()
        await earlier.aclose()
        await proxy.records(1 + len(prompts))
    assert got == [body_of("a"), *map(body_of, prompts)]


async def test_a_parser_that_holds_bytes_of_a_body_is_kept(tmp_path: Path) -> None:
    """All of the body has come, and more of it than its reader takes at once."""
    got: list[bytes] = []

    async def script(visit: Visit) -> None:
        got.append(visit.body)
        await visit.answer(b'{"choices":[]}')

    body = body_of("b" * 300_000)
    request = post(body)
    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await until(lambda: len(listening(proxy).connections) == 1)
        connection = only_connection(proxy)
        for _ in range(2):
            connection.data_received(request[:1000])
            await until(lambda: connection.waits_for_body)
            connection.data_received(request[1000:])
            assert connection._reading_paused
            listening(proxy).sweep(monotonic())
            assert (await client.answer()).status == 200
            await until(lambda: connection.waits)
            listening(proxy).sweep(monotonic())
            assert connection._parser is None
        await client.aclose()
        await proxy.records(2)
    assert got == [body, body]
