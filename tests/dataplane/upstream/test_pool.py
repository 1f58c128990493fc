"""Connections to an upstream: reused, bounded, dropped when stale; and the semi-private parts of
aiohttp that this relies on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiohttp
import aiohttp.http_parser
import pytest
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from proxy.dataplane.upstream.connection import UpstreamConnection
from proxy.dataplane.upstream.pool import ConnectError, Pool
from tests.support.raw import Visit, raw_upstream
from tests.support.tls import certificate, server_context
from tests.support.waiting import guard, until

REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


def pool(url: str, **changes: object) -> Pool:
    """Of an upstream that was seen to keep its connections open."""
    options: dict[str, object] = {
        "connections_max": 10,
        "connect_s": 600.0,
        "pool_s": 600.0,
        "keepalive_s": 600.0,
        **changes,
    }
    new = Pool(url, **options)  # type: ignore[arg-type]
    new._reuse.kept(False, 1.0, 1.0)
    new._reuse.kept(True, 1.0, 1.0)
    return new


class Collected:
    """A receiver that keeps one answer."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.body: StreamReader | None = None
        self.data = b""
        self.error: BaseException | None = None

    def head_received(self, head: RawResponseMessage, body: StreamReader) -> None:
        self.body = body

    def body_received(self) -> None:
        if self.body is not None:
            self.data += self.body.read_nowait()
            if self.body.at_eof():
                self.over.set()

    def request_sent(self) -> None: ...

    def connection_failed(self, error: BaseException | None) -> None:
        self.error = error
        self.over.set()


async def exchange(connections: Pool) -> UpstreamConnection:
    connection = await connections.acquire()
    collected = Collected()
    connection.receiver = collected
    connection.send(REQUEST)
    await collected.over.wait()
    assert collected.data == b"{}"
    return connection


async def answering(visit: Visit) -> None:
    await visit.answer(b"{}")


def test_the_parts_of_aiohttp_we_rely_on_are_there() -> None:
    """If this fails after an upgrade of aiohttp, read proxy/dataplane/upstream/pool.py's docstring:
    these are the names it uses beyond the documented ones."""
    assert hasattr(aiohttp.http_parser, "HttpResponseParserC"), "the C extension"
    for name in (
        "set_response_params",
        "should_close",
        "is_connected",
        "abort",
        "pause_reading",
        "resume_reading",
        "data_received",
        "connection_lost",
    ):
        assert hasattr(UpstreamConnection, name), name
    for name in ("code", "reason", "raw_headers", "chunked"):
        assert hasattr(RawResponseMessage, name), name


async def test_a_connection_is_ours_and_comes_back_last_in_first_out() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url)
        one, two = await exchange(connections), await exchange(connections)
        assert isinstance(one, UpstreamConnection) and one is not two
        connections.release(one)
        connections.release(two)
        assert await connections.acquire() is two
        assert await connections.acquire() is one
        connections.discard(one)
        connections.discard(two)
        await connections.aclose()


async def test_aiohttps_connector_neither_keeps_a_connection_nor_ends_it() -> None:
    """What it kept would take half a kilobyte each, and be closed with it in mid-answer."""
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url)
        resting, busy = await exchange(connections), await exchange(connections)
        assert connections._session is not None
        connector = connections._session.connector
        assert connector is not None and not connector._acquired and not connector._conns
        connections.release(resting)
        await connections.aclose()
        assert not resting.is_connected() and busy.is_connected()
        connections.release(busy)
        assert not busy.is_connected() and connections.in_use == 0
        await until(lambda: all(writer.is_closing() for writer in upstream.accepted))


async def test_a_connection_that_is_discarded_twice_gives_back_one_place() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url)
        one, two = await exchange(connections), await exchange(connections)
        for _ in range(2):
            connections.discard(one)
        assert connections.in_use == 1
        connections.discard(two)
        assert connections.in_use == 0
        await connections.aclose()


async def test_bytes_that_nobody_asked_for_condemn_a_connection() -> None:
    seen = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")
        await seen.wait()
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async with raw_upstream(script) as upstream:
        connections = pool(upstream.url)
        first = await exchange(connections)
        connections.release(first)
        seen.set()
        await until(lambda: not first.is_connected())
        second = await exchange(connections)
        assert second is not first
        connections.discard(second)
        await connections.aclose()


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (b"0\r\n\r\n", True),
        (b"0\r\nX-Trailer: t\r\n\r\n", False),
        (b"0\r\nX-A: 1\r\nX-B: 0\r\n\r\n", False),
    ],
)
@pytest.mark.parametrize("split", range(8))
async def test_a_connection_with_a_trailer_in_its_parser_carries_no_other_answer(
    end: bytes, kept: bool, split: int
) -> None:
    async def script(visit: Visit) -> None:
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + end
        await visit.send(wire[:-split])
        await asyncio.sleep(0)
        await visit.send(wire[-split:])

    async with raw_upstream(script) as upstream:
        connections = pool(upstream.url)
        connection = await exchange(connections)
        connections.release(connection)
        assert connection.is_connected() is kept
        await connections.aclose()


async def test_what_is_idle_too_long_is_closed() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url)
        connection = await exchange(connections)
        connections.release(connection)
        connections.sweep(connection.idle_since_s + 599.9)
        assert connection.is_connected()
        connections.sweep(connection.idle_since_s + 600.1)
        assert not connection.is_connected()
        assert connections.in_use == 0
        await connections.aclose()


async def test_the_bound_holds_and_the_next_in_line_gets_the_place() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url, connections_max=1)
        held = await connections.acquire()
        waiting = asyncio.create_task(connections.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
        connections.discard(held)
        got = await waiting
        assert got is not held and connections.in_use == 1
        connections.discard(got)
        await connections.aclose()


async def test_one_who_leaves_the_line_in_the_moment_of_his_turn_gives_it_to_the_next() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url, connections_max=1)
        connection = await exchange(connections)
        leaving, next_one = (
            asyncio.create_task(connections.acquire()),
            asyncio.create_task(connections.acquire()),
        )
        await asyncio.sleep(0)
        connections.release(connection)
        leaving.cancel()
        async with guard():
            assert await next_one is connection
        assert leaving.cancelled()
        connections.discard(connection)
        await connections.aclose()


async def test_waiting_for_a_place_ends() -> None:
    async with raw_upstream(answering) as upstream:
        connections = pool(upstream.url, connections_max=1, pool_s=0.01)
        held = await connections.acquire()
        with pytest.raises(ConnectError) as refused:
            await connections.acquire()
        assert refused.value.kind == "pool"
        connections.discard(held)
        await connections.aclose()


async def test_failures_to_connect_are_told_apart() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for url, kind in [
            (f"http://127.0.0.1:{closed.getsockname()[1]}/v1", "connect"),
            ("http://no-such-host.invalid/v1", "dns"),
        ]:
            connections = pool(url)
            with pytest.raises(ConnectError) as failed:
                await connections.acquire()
            assert failed.value.kind == kind
            assert "127.0.0.1" not in str(failed.value) and str(failed.value)
            assert connections.in_use == 0
            await connections.aclose()


async def test_a_private_authority_is_trusted_through_ca_file_only(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    context = server_context(key, cert)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    trusting = pool(url, context=ssl.create_default_context(cafile=str(cert)))
    connection = await exchange(trusting)
    trusting.discard(connection)
    await trusting.aclose()
    doubting = pool(url)
    with pytest.raises(ConnectError) as failed:
        await doubting.acquire()
    assert failed.value.kind == "tls" and "ca_file" in str(failed.value)
    await doubting.aclose()
    server.close()


async def test_a_port_without_tls_is_told_from_a_certificate_that_is_not_trusted() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    asked = pool(f"https://localhost:{server.sockets[0].getsockname()[1]}/v1")
    with pytest.raises(
        ConnectError, match=r"does not speak TLS at this port; write http://"
    ) as failed:
        await asked.acquire()
    assert failed.value.kind == "tls"
    await asked.aclose()
    server.close()


async def test_an_egress_proxy_gets_the_absolute_target_and_its_credentials_stay_out_of_errors() -> (
    None
):
    async with raw_upstream(answering) as egress:
        address = egress.url.removesuffix("/v1").replace("http://", "http://user:secret@")
        connections = pool("http://vendor.invalid/v1", proxy=address)
        connection = await exchange(
            connections
        )  # connects to the proxy, not to the vendor that does not exist
        connections.discard(connection)
        await connections.aclose()
    refusing = pool("https://vendor.invalid/v1", proxy="http://user:secret@127.0.0.1:9")
    with pytest.raises(ConnectError) as failed:
        await refusing.acquire()
    assert failed.value.kind == "proxy" and "secret" not in str(failed.value)
    await refusing.aclose()
