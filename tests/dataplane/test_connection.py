"""The bytes of answers of our own: heads, bodies, and when the connection ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running


async def never(visit: Visit) -> None:
    raise AssertionError("nothing is forwarded here")


async def asked(directory: Path, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and all that follows it until the proxy closes."""
    async with raw_upstream(never) as upstream, running(directory, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(request)
        status, head = await client.head()
        rest = await client.reader.read(-1)
        await client.aclose()
        return status, head, rest


CLOSE = b"Host: proxy\r\nConnection: close\r\n"


async def test_an_answer_has_a_date_a_length_and_its_body(tmp_path: Path) -> None:
    status, head, body = await asked(tmp_path, b"GET /healthz HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert status == 200 and b"\r\nDate: " in head and b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: %d" % len(body) in head and body


async def test_the_answer_to_head_has_the_same_head_and_no_body(tmp_path: Path) -> None:
    status, head, body = await asked(tmp_path, b"HEAD /healthz HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert status == 200 and b"\r\nContent-Length: " in head and body == b""


@pytest.mark.parametrize(
    ("fields", "closes"), [(b"", True), (b"Connection: keep-alive\r\n", False)]
)
async def test_http_10_keeps_its_connection_only_if_it_asks(
    tmp_path: Path, fields: bytes, closes: bool
) -> None:
    async with raw_upstream(never) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(b"GET /healthz HTTP/1.0\r\n" + fields + b"\r\n")
        answer = await client.answer()
        assert (b"Connection: close" in answer.head) is closes
        assert (b"Connection: keep-alive" in answer.head) is not closes
        await client.aclose()


async def test_a_refusal_before_the_body_is_there_says_whose_it_is_and_ends_the_connection(
    tmp_path: Path,
) -> None:
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nContent-Length: 9\r\n\r\n{"
    status, head, body = await asked(tmp_path, request)
    assert status == 401 and b"\r\nx-tollkeeper-origin: proxy" in head
    assert b"\r\nConnection: close" in head and b"invalid_api_key" in body
