"""What an open stream keeps in memory, by Python's own count of what the proxy allocates.

Without what the event loop and the kernel have of its two connections: `tests.bench.memory` counts
that too.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path
from time import monotonic

import aiohttp

import proxy as package
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

STREAMS = 100
KEPT_MAX_BYTES = 12_300  # 11,600 on CPython 3.11
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
ASK = b'{"model":"m-1","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (b"y" * 900)
OURS = [
    tracemalloc.Filter(True, str(Path(module.__file__ or "").parent / "*"))
    for module in (package, aiohttp)
]


def allocated() -> int:
    gc.collect()
    found = tracemalloc.take_snapshot().filter_traces(OURS)
    return sum(line.size for line in found.statistics("filename"))


async def opened(proxy: Running, count: int) -> list[RawClient]:
    clients = [await RawClient.connect(proxy.address) for _ in range(count)]
    for client in clients:
        await client.post(ASK)
        await client.head()
        await client.chunk()
    return clients


async def test_an_open_stream_keeps_little(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.stream(EVENT, EVENT, EVENT, end=False)
        await over.wait()
        await visit.send(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        clients = await opened(proxy, 1)
        tracemalloc.start()
        before = allocated()
        clients += await opened(proxy, STREAMS)
        services, listener = proxy.server.services, proxy.server.front.listener
        await until(lambda: len(services.exchanges) == STREAMS + 1)
        listener.sweep(monotonic())
        for exchange in services.exchanges:
            exchange.watch(monotonic())
        kept = (allocated() - before) / STREAMS
        tracemalloc.stop()
        over.set()
        for client in clients:
            while await client.chunk():
                pass
            await client.aclose()
        await proxy.records(STREAMS + 1)
    assert kept < KEPT_MAX_BYTES
