"""One connection to an upstream: whether it may carry a request, on both event loops, with TLS and
without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from proxy.core.http.response_head import AnswerHead
from proxy.dataplane.upstream.body import Body
from proxy.dataplane.upstream.connection import UpstreamConnection
from proxy.dataplane.upstream.pool import Pool
from tests.support.raw import Visit, raw_upstream
from tests.support.tls import certificate, server_context
from tests.support.waiting import until


class Collected:
    """A receiver that keeps one answer, or lets it wait."""

    def __init__(self, connection: UpstreamConnection, *, reads: bool = True) -> None:
        connection.serve(self)
        self.reads = reads
        self.over = asyncio.Event()
        self.code = 0
        self.body: Body | None = None
        self.data = b""

    def head_received(self, head: AnswerHead, body: Body) -> None:
        self.code, self.body = head.code, body

    def body_received(self) -> None:
        assert self.body is not None
        if self.reads:
            self.data += self.body.read_nowait()
            if self.body.at_eof():
                self.over.set()

    def request_sent(self) -> None: ...

    def connection_failed(self, error: BaseException | None) -> None:
        self.over.set()


def fresh(url: str) -> Pool:
    return Pool(url, connections_max=1, connect_s=600.0, pool_s=600.0, keepalive_s=600.0)


SHUT = (socket.SHUT_WR, b"")
TALK = (None, b"HTTP/1.1 408 Request Timeout\r\n\r\n")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("how", "said"), [SHUT, TALK], ids=["closed", "unasked bytes"])
def test_what_the_kernel_knows_counts_before_the_loop_knows_it(
    tmp_path: Path, run: Callable[[object], None], tls: bool, how: int | None, said: bytes
) -> None:
    key, cert = certificate(tmp_path) if tls else (None, None)

    async def idle(visit: Visit) -> None:
        raise AssertionError("nothing is asked of it")

    async def judged() -> None:
        context = None if key is None or cert is None else server_context(key, cert)
        async with raw_upstream(idle, context) as upstream:
            trusted = True if cert is None else ssl.create_default_context(cafile=str(cert))
            pool = Pool(
                upstream.url,
                connections_max=1,
                connect_s=600.0,
                pool_s=600.0,
                keepalive_s=600.0,
                context=trusted,
            )
            connection = await pool.acquire()
            await until(
                lambda: connection.usable and upstream.accepted
            )  # the tickets that TLS sends unasked are read
            with socket.socket(
                fileno=os.dup(upstream.accepted[0].get_extra_info("socket").fileno())
            ) as peer:
                peer.send(said)
                if how is not None:
                    peer.shutdown(how)
            assert connection.is_connected(), "no turn of the loop has passed"
            assert not connection.usable
            pool.discard(connection)
            await pool.aclose()

    run(judged())


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (b"", True),
        (b"Connection: close\r\n", False),
        (b"connection: Keep-Alive , CLOSE\r\n", False),
        (b"Connection: keep-alive\r\n", True),
    ],
)
@pytest.mark.parametrize("extra", [b"", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"])
@pytest.mark.parametrize("cut", [1, 20, 65536])
async def test_an_answer_of_known_length_leaves_a_connection_that_may_be_used_again(
    said: bytes, again: bool, extra: bytes, cut: int
) -> None:
    answer = b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\n{}" % said + extra

    async def script(visit: Visit) -> None:
        for at in range(0, len(answer), cut):
            await visit.send(answer[at : at + cut])
            await asyncio.sleep(0)

    async with raw_upstream(script) as upstream:
        pool = fresh(upstream.url)
        connection = await pool.acquire()
        one = Collected(connection)
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.over.wait()
        assert (one.code, one.data) == (200, b"{}")
        if extra:
            await until(lambda: connection.should_close)  # it may come a moment later
        assert connection.should_close is (not again or bool(extra))
        pool.discard(connection)
        await pool.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{    }",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{    }\r\n0\r\n\r\n",
    ],
)
async def test_a_whole_answer_can_wait_for_a_client_that_reads_slowly(answer: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(answer)

    async with raw_upstream(script) as upstream:
        pool = fresh(upstream.url)
        connection = await pool.acquire()
        one = Collected(connection, reads=False)
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: one.body is not None and one.body.is_eof())
        connection.pause_reading()
        connection.resume_reading()
        assert one.body is not None
        assert one.body.read_nowait() == b"{    }" and one.body.at_eof()
        assert not connection.should_close
        pool.discard(connection)
        await pool.aclose()


async def test_the_parser_reads_bodies_alone_and_one_reader_the_heads() -> None:
    """A field that the parser would refuse passes as any other: it never sees the head."""

    async def script(visit: Visit) -> None:
        await visit.send(
            b"HTTP/1.1 200 OK\r\nSec-WebSocket-Key1: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
        )

    async with raw_upstream(script) as upstream:
        pool = fresh(upstream.url)
        connection = await pool.acquire()
        one = Collected(connection)
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.over.wait()
        assert one.data == b"{}" and connection.chunked
        pool.discard(connection)
        await pool.aclose()
