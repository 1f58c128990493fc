"""One small answer read whole: given in pieces, ended by its length, its last chunk or its
connection; and what is no list of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.settings import TimeoutSettings, UpstreamSettings
from proxy.dataplane.upstream.fetch import ANSWER_BYTES_MAX, Fetch, Fetched, listed
from proxy.dataplane.upstream.pools import pool_of
from proxy.dataplane.upstream.upstream import Upstream
from tests.support.raw import Script, Visit, raw_upstream
from tests.support.tls import certificate, server_context, tls_answers

HEAD = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


async def fetched(script: Script, *, times: int = 1) -> tuple[list[Fetched | Exception], int]:
    """The answers to so many requests one after the other, and how many connections the pool then
    holds."""
    async with raw_upstream(script) as vendor:
        upstream = Upstream(
            "vendor", UpstreamSettings(base_url=vendor.url, api_key="k"), TimeoutSettings()
        )
        pool = pool_of(upstream)
        answers: list[Fetched | Exception] = []
        for _ in range(times):
            one = Fetch(upstream, pool, await pool.acquire())
            try:
                answers.append(await one.run(HEAD))
            except Exception as error:
                answers.append(error)
            one.end()
            assert pool.in_use == 0
        idle = pool._open
        await pool.aclose()
        return answers, idle


async def with_length(visit: Visit) -> None:
    await visit.send(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: no\r\nX-Vendor: yes\r\nContent-Length: 6\r\n\r\nab",
        b"cd",
        b"ef",
    )


async def in_chunks(visit: Visit) -> None:
    await visit.stream(b"ab", b"cdef", headers=("X-Vendor: yes",))


async def up_to_the_close(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nX-Vendor: yes\r\n\r\nab", b"cdef")
    visit.writer.close()


async def cut(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    visit.writer.close()


async def nothing(visit: Visit) -> None:
    visit.reset()


@pytest.mark.parametrize(
    ("script", "kept"), [(with_length, 1), (in_chunks, 1), (up_to_the_close, 0)]
)
async def test_an_answer_comes_whole_and_its_connection_serves_again(
    script: Script, kept: int
) -> None:
    answers, idle = await fetched(script, times=3)
    assert answers == [Fetched(200, [(b"X-Vendor", b"yes")], b"abcdef")] * 3
    assert idle == kept


@pytest.mark.parametrize("script", [cut, nothing])
async def test_a_broken_answer_is_an_error_and_its_connection_is_closed(script: Script) -> None:
    [error], idle = await fetched(script)
    assert isinstance(error, Exception)
    assert idle == 0


@pytest.mark.parametrize(
    "follow_up",
    [b"}", b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 4"],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("apart", [False, True])
async def test_what_follows_an_answer_is_no_part_of_it(
    follow_up: bytes, chunked: bool, apart: bool
) -> None:
    whole = (
        b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"
        if chunked
        else b"Content-Length: 6\r\n\r\nabcdef"
    )
    answer = b"HTTP/1.1 200 OK\r\nX-Vendor: yes\r\n" + whole

    async def script(visit: Visit) -> None:
        await visit.send(*((answer, follow_up) if apart else (answer + follow_up,)))

    answers, idle = await fetched(script, times=2)
    assert answers == [Fetched(200, [(b"X-Vendor", b"yes")], b"abcdef")] * 2
    assert idle == 0 or apart, "what comes in a segment of its own may be on its way yet"


async def test_only_json_shows_that_it_is_whole_where_tls_does_not(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    body = b'{"data":[]}'
    head = b"HTTP/1.1 200 OK\r\n"
    cases = {
        b"whole": (head + b"\r\n" + body, False, True),
        b"half": (head + b"\r\n" + body[:5], False, False),
        b"text": (head + b"\r\nhello", False, False),
        b"text, said goodbye": (head + b"\r\nhello", True, True),
        b"text of stated length": (head + b"Content-Length: 5\r\n\r\nhello", False, True),
    }
    with tls_answers(
        server_context(key, cert), {name: case[:2] for name, case in cases.items()}
    ) as url:
        upstream = Upstream(
            "vendor", UpstreamSettings(base_url=url, api_key="k", ca_file=cert), TimeoutSettings()
        )
        pool = pool_of(upstream)
        for name, (_, _, whole) in cases.items():
            one = Fetch(upstream, pool, await pool.acquire())
            try:
                await one.run(HEAD[:-2] + b'X-Case: "%b"\r\n\r\n' % name)
                assert whole, name
            except OSError:
                assert not whole, name
            one.end()
        await pool.aclose()


async def endless(visit: Visit) -> None:
    await visit.stream(*[b"x" * (1 << 20)] * (1 + (ANSWER_BYTES_MAX >> 20)), end=False)
    await visit.reader.read()


async def test_an_endless_answer_ends() -> None:
    [error], idle = await fetched(endless)
    assert isinstance(error, OSError) and "too long" in str(error)
    assert idle == 0


@pytest.mark.parametrize(
    ("status", "body", "names"),
    [
        (200, b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}', ["a", "b"]),
        (200, b'[{"id":"a"}]', ["a"]),
        (200, b'{"data":[{"id":"a"},"b",null]}', ["a"]),
        (200, b'{"data":{"id":"a"}}', []),
        (200, b"<html>", []),
        (200, b'{"data":[{"id":"\xff"}]}', []),
        (200, b"[" * 100_000, []),
        (200, b"", []),
        (404, b'{"data":[{"id":"a"}]}', []),
    ],
)
def test_the_models_of_a_list(status: int, body: bytes, names: list[str]) -> None:
    assert [entry["id"] for entry in listed(Fetched(status, [], body))] == names
