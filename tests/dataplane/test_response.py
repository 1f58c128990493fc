"""How an answer's body is framed for the client, and how a client can tell a whole answer from a
cut one. In bytes, through a running proxy."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import config, running

BODY = b'{"model":"m-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(BODY),
    BODY,
)
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
REQUEST = b'{"model":"m-1","messages":[]}'


async def ask(
    directory: Path,
    answer: bytes,
    *,
    version: str = "1.1",
    then: str = "close",
    body: bytes = REQUEST,
) -> tuple[RawAnswer, dict[str, object]]:
    """The client's view of an upstream that sends `answer` and, once the client sees it begin,
    closes or resets; and the record of it."""
    begun = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.send(answer)
        if then == "reset":
            await begun.wait()
            visit.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            visit.reset()
        elif then == "close":
            visit.writer.close()

    async with raw_upstream(script) as upstream, running(directory, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        request = f"POST /v1/chat/completions HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer sk-test\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send(request.encode() + body)
        begin = await client.head()
        begun.set()
        got = await client.rest(*begin)
        await client.aclose()
        [record] = await proxy.records(1)
        return got, record


@pytest.mark.parametrize(
    ("answer", "version", "length", "coding", "connection"),
    [
        (LENGTH, "1.1", str(len(BODY)).encode(), None, None),
        (LENGTH, "1.0", str(len(BODY)).encode(), None, b"close"),
        (CHUNKED, "1.1", None, b"chunked", None),
        (CHUNKED, "1.0", None, None, b"close"),  # which has no chunks
        (UNTIL_CLOSE, "1.1", None, b"chunked", None),
        (UNTIL_CLOSE, "1.0", None, None, b"close"),
    ],
)
async def test_length_framing_stays_and_all_else_is_chunked(
    tmp_path: Path, answer, version, length, coding, connection
) -> None:
    got, record = await ask(tmp_path, answer, version=version)
    assert (got.status, got.body, got.whole) == (200, BODY, True)
    assert (
        got.header("content-length"),
        got.header("transfer-encoding"),
        got.header("connection"),
    ) == (length, coding, connection)
    assert (record["outcome"], record["output_tokens"], record["bytes_out"]) == (
        "completed",
        3,
        len(BODY),
    )


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_framing(tmp_path: Path, status: int) -> None:
    got, _ = await ask(tmp_path, b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status, then="nothing")
    assert (got.status, got.body) == (status, b"")
    assert (got.header("content-length"), got.header("transfer-encoding"), got.header("etag")) == (
        None,
        None,
        b"x",
    )


@pytest.mark.parametrize(
    ("answer", "version", "then"),
    [
        (LENGTH[:-5], "1.1", "close"),
        (CHUNKED[:-5], "1.1", "close"),  # the last chunk's end is missing
        (CHUNKED[:-5], "1.1", "reset"),
        (CHUNKED[:-5], "1.0", "close"),
        (UNTIL_CLOSE, "1.1", "reset"),
        (UNTIL_CLOSE, "1.0", "reset"),
    ],
)
async def test_after_a_cut_upstream_there_is_never_a_clean_end(
    tmp_path: Path, answer, version, then
) -> None:
    got, record = await ask(tmp_path, answer, version=version, then=then)
    assert not got.whole
    assert record["outcome"] == "upstream_failed"


@pytest.mark.parametrize(
    ("status", "stream", "headers", "fields"),
    [
        (200, False, b"", (None, None)),
        (200, True, b"", (None, b"no")),
        (200, True, b"X-Accel-Buffering: yes\r\n", (None, b"yes")),  # what the upstream says stays
        (429, False, b"", (b"upstream", None)),
    ],
)
async def test_what_the_proxy_adds_to_a_head(
    tmp_path: Path, status, stream, headers, fields
) -> None:
    answer = b"HTTP/1.1 %d Such\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        headers,
        len(BODY),
        BODY,
    )
    got, record = await ask(
        tmp_path,
        answer,
        body=b'{"model":"m-1","messages":[],"stream":%b}' % (b"true" if stream else b"false"),
    )
    assert (got.header("x-tollkeeper-origin"), got.header("x-accel-buffering")) == fields
    assert got.head.lower().count(b"x-accel-buffering") == (fields[1] is not None)
    assert got.header("x-tollkeeper-id") == str(record["id"]).encode()
    assert got.head.startswith(b"HTTP/1.1 %d Such\r\n" % status)
