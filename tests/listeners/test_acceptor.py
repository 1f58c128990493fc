"""Connections that nobody has to have a key for are bounded: who keeps many keeps nobody else out,
and nothing else runs out of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.listeners.acceptor import AT_ONCE
from tests.support.process import proxy_process
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import guard, until

BODY = b'{"model":"m-1","messages":[]}'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'


async def answers(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def connect(address: str) -> RawClient:
    client = await RawClient.connect(address)
    await client.send(HEALTH)
    assert (await client.answer()).status == 200
    return client


async def is_open(client: RawClient) -> bool:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await client.send(HEALTH)
        return (await client.answer()).status == 200
    return False


async def test_the_newest_that_waits_makes_room(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", connections_max=4)) as proxy:
        clients = [await connect(proxy.address) for _ in range(7)]
        # The last one always finds room, at the expense of the newest before it.
        assert [await is_open(client) for client in clients] == [
            True,
            True,
            True,
            False,
            False,
            False,
            True,
        ]
        for client in clients:
            await client.aclose()
        for client in [await connect(proxy.address) for _ in range(4)]:
            assert await is_open(client), "who has left is not counted"
            await client.aclose()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /heal",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ],
)
async def test_who_brings_no_request_makes_room(tmp_path: Path, begun: bytes) -> None:
    """Neither a head that is not whole nor a refused request whose body is still waited for keeps
    anybody out."""
    async with running(tmp_path, config("http://127.0.0.1:9/v1", connections_max=2)) as proxy:
        first = await connect(proxy.address)
        idle = await RawClient.connect(proxy.address)
        await idle.send(begun)
        if begun.endswith(b"\n"):
            assert (await idle.answer()).status == 401
        await asyncio.sleep(0)
        other = await connect(proxy.address)
        assert await is_open(first) and await is_open(other)
        async with guard():
            assert await idle.closed()
        await first.aclose()
        await other.aclose()


async def test_a_body_that_does_not_come_makes_room_where_nobody_else_does(tmp_path: Path) -> None:
    """A key is no licence to hold connections that do nothing."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n"
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, connections_max=3)) as proxy,
    ):
        idle = await connect(proxy.address)
        slow = [await RawClient.connect(proxy.address) for _ in range(2)]
        for client in slow:
            await client.send(head % len(BODY))
        await until(lambda: proxy.server.services.arriving.count == 2)
        third = await RawClient.connect(proxy.address)
        await third.send(head % len(BODY))
        await until(lambda: proxy.server.services.arriving.count == 3)
        async with guard():
            assert await idle.closed(), "it waits for nothing, so it goes first"
            late = await connect(proxy.address)
            assert await third.closed(), "the newest of the others"
        for client in slow:
            await client.send(BODY)
            assert (await client.answer()).status == 200
        for client in [*slow, late]:
            await client.aclose()


async def test_who_is_served_is_not_closed_and_who_comes_waits(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def script(visit: Visit) -> None:
        await release.wait()
        await visit.answer(ANSWER)

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, connections_max=2)) as proxy,
    ):
        busy = [await RawClient.connect(proxy.address) for _ in range(2)]
        for client in busy:
            await client.post(BODY)
        async with guard():
            while len(upstream.visits) < 2:
                await asyncio.sleep(0)
        late = await RawClient.connect(proxy.address)  # the kernel takes it
        await late.send(HEALTH)
        answer = asyncio.create_task(late.answer())
        await asyncio.wait([answer], timeout=0.2)
        assert not answer.done()
        release.set()
        for client in busy:
            assert (await client.answer()).status == 200
        async with guard():
            assert (await answer).status == 200
        for client in [*busy, late]:
            await client.aclose()


async def test_who_waits_in_the_kernels_queue_is_taken_before_it_ends(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        waiting = [connected(proxy.address) for _ in range(40)]  # the loop does not turn meanwhile
        for one in waiting:
            one.sendall(HEALTH)
        proxy.server.front.acceptor.take_waiting()
        proxy.server.front.acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            connected(proxy.address)
        for one in waiting:
            assert (await asyncio.to_thread(one.recv, 4096)).startswith(b"HTTP/1.1 200 ")
            one.close()


async def test_who_has_left_is_not_kept(tmp_path: Path) -> None:
    """What a connection held, its buffers and its client's head, would stay until the bound."""
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        front = proxy.server.front
        for _ in range(5 * AT_ONCE):
            await (await connect(proxy.address)).aclose()
            await until(lambda: not front.listener.connections)
        assert len(front.acceptor._open) <= 2 * AT_ONCE + 1


async def test_a_reload_changes_the_bound(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", connections_max=1)) as proxy:
        text = (
            (tmp_path / "config.yaml")
            .read_text()
            .replace("connections_max: 1\n", "connections_max: 3\n")
        )
        (tmp_path / "config.yaml").write_text(text)
        await proxy.server.reload()
        clients = [await connect(proxy.address) for _ in range(3)]
        assert [await is_open(client) for client in clients] == [True] * 3
        for client in clients:
            await client.aclose()


async def test_idle_connections_keep_nobody_from_the_metrics(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        address = proxy.server.addresses.metrics
        idle = [await RawClient.connect(address) for _ in range(100)]
        scraper = await RawClient.connect(address)
        await scraper.send(SCRAPE)
        async with guard():
            assert (await scraper.answer()).status == 200
        held = proxy.server.front.metrics._acceptor
        assert held is not None and sum(one.fileno() >= 0 for one in held._open) <= 64
        for client in [*idle, scraper]:
            await client.aclose()


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))


@pytest.mark.whole
async def test_fifteen_hundred_idle_connections_of_nobody_stop_nothing(tmp_path: Path) -> None:
    """A process that may open 600 files: a known client is served, the journal rolls, the metrics
    answer."""
    with many_files():
        async with raw_upstream(answers) as upstream:
            with proxy_process(
                tmp_path, upstream.url, files_max=600, journal={"segment": "256KiB"}
            ) as proxy:
                known = await connect(proxy.address)
                idle = [connected(proxy.address) for _ in range(1500)]
                idle += [connected(proxy.metrics_address) for _ in range(500)]
                segments = set(proxy.data_dir.glob("journal/*/*.seg"))
                new = await RawClient.connect(proxy.address)
                for client in (known, new):
                    for _ in range(250):
                        await client.post(BODY)
                        answer = await client.answer()
                        assert answer.status == 200, answer.body
                assert set(proxy.data_dir.glob("journal/*/*.seg")) - segments, (
                    "the journal has rolled"
                )
                scraper = await RawClient.connect(proxy.metrics_address)
                await scraper.send(SCRAPE)
                assert b"tollkeeper_requests_total" in (await scraper.answer()).body
                await until(lambda: len(proxy.rows()) == 500, pause_s=0.05)  # each look reads all
                for client in (known, new, scraper):
                    await client.aclose()
                for one in idle:
                    one.close()
