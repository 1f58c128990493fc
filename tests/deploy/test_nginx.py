"""deploy/nginx.conf in a real nginx in front of the real proxy: streams flow, nothing is sent twice,
and its bounds leave the proxy's reasons to reach the client."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.settings import Settings
from tests.deploy.files import DEPLOY
from tests.support.raw import RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import GUARD_S, guard

CONF = (DEPLOY / "nginx.conf").read_text()
NGINX = shutil.which("nginx")
CALL = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not on this machine")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def written(directory: Path, port: int, servers: list[str]) -> Path:
    """The file, with this port, these servers, and `directory` in place of /tmp."""
    text = CONF
    for said, here in (
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8790;", " ".join(f"server {each};" for each in servers)),
        (" /tmp/", f" {directory}/"),
        ("worker_processes auto;", f"worker_processes 1; {as_root()}"),
    ):
        assert said in text
        text = text.replace(said, here)
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


def as_root() -> str:
    """As root it would take another user's name, who may not enter the directories of tests."""
    return "user root;" if Path("/proc/self").stat().st_uid == 0 else ""


@asynccontextmanager
async def nginx(directory: Path, *servers: str) -> AsyncIterator[str]:
    """A running nginx in front of these servers: its address."""
    assert NGINX is not None
    port = free_port()
    conf = written(directory, port, list(servers))
    process = subprocess.Popen([NGINX, "-c", str(conf), "-g", "daemon off;"])
    try:
        async with guard():
            while True:
                assert process.poll() is None, "nginx has ended; its stderr says why"
                try:
                    client = await RawClient.connect(f"127.0.0.1:{port}")
                except OSError:
                    await asyncio.sleep(0.01)  # another process works
                else:
                    await client.aclose()
                    break
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(GUARD_S)


def address_of(upstream: RawUpstream) -> str:
    return upstream.url.removeprefix("http://").removesuffix("/v1")


def event(number: int) -> bytes:
    return (
        b'data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
        b'"delta":{"content":"word %d "},"finish_reason":null}]}\n\n' % number
    )


@needs_nginx
def test_nginx_has_no_objection(tmp_path: Path) -> None:
    conf = written(tmp_path, free_port(), ["127.0.0.1:8790"])
    done = subprocess.run(
        [str(NGINX), "-t", "-c", str(conf)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "warn" not in done.stderr, done.stderr


@needs_nginx
async def test_each_chunk_arrives_before_the_next_one_is_sent(tmp_path: Path) -> None:
    arrived = [asyncio.Event() for _ in range(5)]

    async def answer(visit: Visit) -> None:
        await visit.stream(event(0), end=False)
        for number, before in enumerate(arrived[:-1], 1):
            await before.wait()
            chunk = event(number)
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await visit.send(b"0\r\n\r\n")

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
        nginx(tmp_path, proxy.address) as address,
        guard(),
    ):
        client = await RawClient.connect(address)
        await client.post(CALL)
        status, _ = await client.head()
        assert status == 200
        read = b""
        for number, mine in enumerate(arrived):
            while event(number) not in read:
                read += await client.chunk()
            mine.set()
        while chunk := await client.chunk():
            read += chunk
        assert read == b"".join(event(number) for number in range(5))
        await client.aclose()


@needs_nginx
async def test_who_leaves_is_seen_to_leave(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(event(0), end=False)
        await visit.reader.read()

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
        nginx(tmp_path, proxy.address) as address,
        guard(),
    ):
        client = await RawClient.connect(address)
        await client.post(CALL)
        await client.head()
        await client.chunk()
        client.leave()
        [row] = await proxy.records(1)
        assert row["outcome"] == "client_closed"


@needs_nginx
async def test_long_heads_pass_both_ways(tmp_path: Path) -> None:
    """An answer whose head does not fit would be lost behind its charge."""
    lines = tuple(f"x-vendor-{number}: {'v' * 7000}" for number in range(6))

    async def answer(visit: Visit) -> None:
        await visit.answer(b"{}", headers=("Content-Type: application/json", *lines))

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
        nginx(tmp_path, proxy.address) as address,
        guard(),
    ):
        client = await RawClient.connect(address)
        await client.post(CALL, headers=tuple(line.replace("vendor", "mine") for line in lines))
        told = await client.answer()
        assert told.status == 200, told.body
        assert told.header("x-vendor-5") == b"v" * 7000
        assert upstream.visits[0].header("x-mine-5") == b"v" * 7000
        await client.aclose()


@needs_nginx
async def test_a_call_that_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    """The first server takes it and ends: it may have been charged."""

    async def answer(visit: Visit) -> None:
        await visit.answer(b"{}")

    async def ends(visit: Visit) -> None:
        visit.writer.close()

    async with (
        raw_upstream(ends) as first,
        raw_upstream(answer) as second,
        nginx(tmp_path, address_of(first), address_of(second)) as address,
        guard(),
    ):
        client = await RawClient.connect(address)
        await client.post(CALL)
        assert (await client.answer()).status == 502
        assert (len(first.visits), len(second.visits)) == (1, 0)
        await client.aclose()


@needs_nginx
async def test_where_none_can_be_connected_to_the_next_is_asked(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.answer(b"{}")

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
        nginx(tmp_path, f"127.0.0.1:{free_port()}", proxy.address) as address,
        guard(),
    ):
        client = await RawClient.connect(address)
        for _ in range(4):
            await client.post(CALL)
            assert (await client.answer()).status == 200
        await client.aclose()
        await proxy.records(4)


def test_each_bound_is_beyond_the_proxys() -> None:
    def said_s(name: str) -> int:
        [value] = {int(found) for found in re.findall(rf"^ *{name} (\d+)s;", CONF, re.MULTILINE)}
        return value

    timeouts = Settings().timeouts
    assert said_s("keepalive_timeout") < timeouts.keepalive_s, (
        "a connection that the proxy closes while nginx uses it costs a request"
    )
    assert said_s("client_header_timeout") > timeouts.header_s
    for name in ("client_body_timeout", "proxy_send_timeout", "send_timeout"):
        assert said_s(name) > timeouts.body_idle_s
    waits_s = max(timeouts.first_byte_s, timeouts.idle_s) + timeouts.pool_s + timeouts.connect_s
    assert said_s("proxy_read_timeout") > waits_s
    assert "client_max_body_size 0;" in CONF, "bodies.max is the bound, and says so"
    assert "proxy_buffering off;" in CONF, (
        "else nginx takes a stream off the vendor, and fills its disk, for a client that does not read"
    )
    assert f"server {Settings().listen};" in CONF
