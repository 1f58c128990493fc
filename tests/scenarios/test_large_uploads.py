"""Large bodies on paths that are passed through: streamed both ways in flat memory. However one
breaks off, it leaves one record."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.process import proxy_process
from tests.support.raw import RawClient
from tests.support.running import Running, config, running
from tests.support.waiting import guard, until

MIB = 2**20
FILES = {
    "path": "/v1/files*", "methods": ["GET", "POST"], "upstream": "mock", "charge": "free",
    "ids": "any",
}  # fmt: skip
PART = bytes(range(256)) * 256  # 64 KiB
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MADE = b'{"id":"file-1"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


@contextlib.asynccontextmanager
async def vendor(script: Script) -> AsyncIterator[str]:
    """The URL of an upstream that runs this for each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def chunked_body(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


FORM = "multipart/form-data; boundary=x"


def post(length: int | None, *lines: str, path: str = "/v1/files", kind: str = FORM) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{line}\r\n" for line in lines)
    return (
        f"POST {path} HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n"
        f"Content-Type: {kind}\r\n{framing}\r\n{more}\r\n"
    ).encode()


def settings(url: str, **more: object) -> dict[str, object]:
    return config(url, **{"passthrough": [FILES], **more})


async def test_a_large_body_goes_both_ways_in_flat_memory(tmp_path: Path) -> None:
    """64 MiB here; the full figure is the campaign's."""
    await both_ways(tmp_path, 64, 12)


@pytest.mark.campaign
async def test_half_a_gigabyte_goes_both_ways_in_flat_memory(tmp_path: Path) -> None:
    await both_ways(tmp_path, 512, 12)


async def both_ways(tmp_path: Path, mib: int, growth_mib: int) -> None:
    parts = mib * 16
    received = hashlib.sha256()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            left = (
                parts * len(PART) if b"Content-Length: %d\r\n" % (parts * len(PART)) in head else 1
            )
            size = left
            while left:
                part = await reader.read(min(left, MIB))
                assert part
                left -= len(part)
                if size > 1:
                    received.update(part)
            answer = parts * len(PART) if size > 1 else 1
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                b"Content-Length: %d\r\n\r\n" % answer
            )
            for _ in range(parts if size > 1 else 0):
                writer.write(PART)
                await writer.drain()
            if size == 1:
                writer.write(b"x")

    async def send(client: RawClient) -> None:
        await client.send(post(parts * len(PART)))
        for _ in range(parts):
            await client.send(PART)

    wanted, got = hashlib.sha256(), hashlib.sha256()
    async with vendor(echo) as url:
        with proxy_process(tmp_path, url, passthrough=[FILES]) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.send(post(1) + b"x")
            await client.answer()
            proxy.forget_peak()
            before = proxy.memory_bytes("VmHWM")
            async with guard():
                await send(client)
                status, _ = await client.head()
                assert status == 200
                left = parts * len(PART)
                while left:
                    part = await client.reader.read(min(left, MIB))
                    assert part
                    left -= len(part)
                    got.update(part)
            grown = proxy.memory_bytes("VmHWM") - before
            await client.aclose()
            async with guard():
                while len(rows := proxy.rows()) < 2:
                    await asyncio.sleep(0.01)
    for _ in range(parts):
        wanted.update(PART)
    assert received.digest() == wanted.digest() == got.digest()
    assert (rows[1]["bytes_in"], rows[1]["bytes_out"]) == (parts * len(PART), parts * len(PART))
    assert grown < growth_mib * MIB, f"{grown / MIB:.1f} MiB more for a body of {mib} MiB"


async def test_a_chunked_body_goes_on_in_chunks_and_continue_waits_for_the_connection(
    tmp_path: Path,
) -> None:
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            bodies.append(await chunked_body(reader))
            writer.write(OK % (len(MADE), MADE))

    async with vendor(script) as url, running(tmp_path, settings(url)) as proxy:
        client = await RawClient.connect(proxy.address)
        for _ in range(2):  # the connections of both sides carry another one behind it
            await client.send(post(None, "Expect: 100-continue"))
            assert (await client.head())[0] == 100
            await client.send(b"3;ext=1\r\nabc\r\n" + b"2\r\nde\r\n" + b"0\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, MADE)
        rows = await proxy.records(2)
        await client.aclose()
    assert bodies == [b"abcde", b"abcde"]
    assert b"Transfer-Encoding: chunked\r\n" in heads[0] and b"Content-Length" not in heads[0]
    assert b"expect" not in heads[0].lower()
    assert [row["bytes_in"] for row in rows] == [5, 5]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_form_without_its_end_is_never_whole_upstream(
    tmp_path: Path, chunked: bool
) -> None:
    """There are readers that take such a last part for whole, and nobody has looked at it."""
    body = b"--x7\r\nContent-Disposition: form-data; name=training_file\r\n\r\nfile-1"
    received = b""
    closed = asyncio.Event()

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(4096):
                received += part
        closed.set()

    owned = {"passthrough": [{**FILES, "ids": "team"}]}
    async with vendor(reads) as url, running(tmp_path, settings(url, **owned)) as proxy, guard():
        client = await RawClient.connect(proxy.address)
        kind = "multipart/form-data; boundary=x7"
        await client.send(post(None if chunked else len(body), kind=kind))
        for at in range(len(body)):
            byte = body[at : at + 1]
            await client.send(b"1\r\n%b\r\n" % byte if chunked else byte)
        if chunked:
            await client.send(b"0\r\n\r\n")
        assert (await client.answer()).status == 415
        await closed.wait()
        await client.aclose()
    assert not received.endswith(b"0\r\n\r\n" if chunked else body)


async def test_a_refused_upload_is_never_asked_to_come(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("reached")

    small = {**FILES, "max": "1KiB"}
    async with (
        vendor(script) as url,
        running(tmp_path, settings(url, passthrough=[small])) as proxy,
    ):
        for length, status in ((1025, 413), (1024, 100)):
            client = await RawClient.connect(proxy.address)
            await client.send(post(length, "Expect: 100-continue"))
            assert (await client.head())[0] == status
            client.leave()


async def test_a_body_that_turns_out_too_large_is_cut_and_has_a_record(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(-1))

    small = {**FILES, "max": "100KiB"}
    async with (
        vendor(script) as url,
        running(tmp_path, settings(url, passthrough=[small])) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.send(post(None))
        for _ in range(2):
            await client.send(b"%x\r\n%b\r\n" % (len(PART), PART))
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "body_too_large")
        (row,) = await proxy.records(1)
        await until(lambda: seen)
        await client.aclose()
    assert (row["outcome"], row["status"], row["reason"]) == ("client_closed", None, "free")
    assert not seen[0].endswith(b"0\r\n\r\n"), "the vendor must not take a part for the whole"


async def test_a_body_that_stalls_or_cannot_be_read_on_is_told_and_has_a_record(
    tmp_path: Path,
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    timeouts = {"body_idle": "500ms"}
    async with vendor(script) as url, running(tmp_path, settings(url, timeouts=timeouts)) as proxy:
        for more, status in ((b"", 408), (b"zz\r\n", 408)):
            client = await RawClient.connect(proxy.address)
            await client.send(post(None) + b"3\r\nabc\r\n")
            await until(lambda: proxy.server.open_exchanges == 1)
            await client.send(more)
            assert (await client.answer()).status == status
            await client.aclose()
            await until(lambda: proxy.server.open_exchanges == 0)
        rows = await proxy.records(2)
    assert [row["outcome"] for row in rows] == ["client_closed"] * 2


async def test_a_client_that_leaves_stops_the_upload(tmp_path: Path) -> None:
    ended: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(MIB):
                ended.append(-len(part))
        ended.append(1)

    async with vendor(script) as url, running(tmp_path, settings(url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(post(10 * MIB) + PART)
        await until(lambda: ended)
        client.leave()
        (row,) = await proxy.records(1)
        await until(lambda: ended[-1] == 1)
    assert (row["outcome"], row["status"], row["cost_nano"]) == ("client_closed", None, 0)


async def test_an_answer_before_the_body_is_whole_passes_and_ends_both_connections(
    tmp_path: Path,
) -> None:
    refusal = b'{"error":"too large for this vendor"}'
    closed = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(refusal), refusal)
        )
        with contextlib.suppress(ConnectionError):
            while await reader.read(MIB):
                pass
        closed += 1

    async with vendor(script) as url, running(tmp_path, settings(url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(post(10 * MIB) + PART)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, refusal)
        assert answer.header("connection") == b"close"
        (row,) = await proxy.records(1)
        await until(lambda: closed)
        assert proxy.pool.in_use == 0
        await client.aclose()
    assert (row["status"], row["outcome"]) == (413, "rejected_upstream")


async def test_an_upstream_that_reads_slowly_slows_its_client_and_one_that_stops_is_timed_out(
    tmp_path: Path,
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    upstreams = {
        "mock": {"base_url": "", "api_key": "sk-upstream", "timeouts": {"idle": "1s"}},
    }
    async with vendor(script) as url:
        upstreams["mock"]["base_url"] = url
        async with running(tmp_path, settings(url, upstreams=upstreams)) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.send(post(200 * MIB))
            sent = 0

            async def push() -> None:
                nonlocal sent
                for _ in range(200 * 16):
                    await client.send(PART)
                    sent += len(PART)

            pushing = asyncio.create_task(push())
            status, _ = await client.head()
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
            assert status == 504
            (row,) = await proxy.records(1)
            client.leave()
    assert sent < 64 * MIB, "what the kernel holds, and no more"
    assert row["outcome"] == "upstream_failed"


async def test_a_killed_process_has_a_record_of_an_upload(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read(-1)

    async with vendor(script) as url:
        with proxy_process(tmp_path, url, passthrough=[FILES]) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.send(post(10 * MIB) + PART)
            async with guard():
                await arrived.wait()
            proxy.signal(signal.SIGKILL)
            await client.closed()
        async with running(tmp_path, settings(url)) as proxy_again:
            (row,) = await booked(proxy_again)
    assert (row["origin"], row["outcome"]) == ("recovery", "interrupted")
    assert (row["cost_nano"], row["reason"], row["source"]) == (0, "free", "none")


async def booked(proxy: Running) -> list[dict[str, object]]:
    return await proxy.records(1)


async def test_concurrent_uploads_are_limited(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(3)
            await release.wait()
            writer.write(OK % (len(MADE), MADE))

    keys = {"alice": {"secret": "sk-test", "limits": ["2 concurrent"]}}
    async with vendor(script) as url, running(tmp_path, settings(url, keys=keys)) as proxy:
        clients = [await RawClient.connect(proxy.address) for _ in range(5)]
        for client in clients[:2]:
            await client.send(post(3) + b"a")  # slow: it is in flight from its head on
        await until(lambda: proxy.server.open_exchanges == 2)
        for client in clients[2:]:
            await client.send(post(3) + b"abc")
        assert [(await client.answer()).status for client in clients[2:]] == [429] * 3
        for client in clients[:2]:
            await client.send(b"bc")
        release.set()
        assert [(await client.answer()).status for client in clients[:2]] == [200] * 2
        await proxy.records(2)
        for client in clients:
            await client.aclose()
