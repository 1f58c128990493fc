"""A reload reads and compiles beside the event loop, one at a time, and new limits miss no
record."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import Loaded, load
from proxy.ledger.sqlite.thread import on_its_thread
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

ASK = b'{"model":"m","messages":[]}'
USAGE = b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
ANSWER = b'{"choices":[{"message":{"content":"x"}}],"usage":' + USAGE + b"}"


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def ask(proxy: Running) -> int:
    client = await RawClient.connect(proxy.address)
    await client.post(ASK)
    status = (await client.answer()).status
    await client.aclose()
    return status


async def test_it_is_read_in_a_thread_and_many_calls_share_one_turn(tmp_path: Path) -> None:
    readers: list[threading.Thread] = []
    may_read = threading.Event()

    def read() -> Loaded:
        readers.append(threading.current_thread())
        may_read.wait()
        return load(tmp_path / "config.yaml", {})

    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        reloads = proxy.server._reloads
        reloads._read = read
        first = asyncio.create_task(reloads.reload())
        while not readers:
            assert await ask(proxy) == 200, "the proxy serves meanwhile"
        others = [asyncio.create_task(reloads.reload()) for _ in range(50)]
        assert await ask(proxy) == 200
        may_read.set()
        await asyncio.gather(first, *others)
        assert len(readers) == 2, "what was written after the first began to read is read once more"
        assert threading.main_thread() not in readers
        assert not proxy.server._tasks._tasks & {*others, first}


@pytest.mark.parametrize("unit", ["requests", "tokens"])
async def test_what_ends_while_a_new_limit_is_counted_is_counted_too(
    tmp_path: Path, unit: str
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        parts = proxy.server.services
        assert await ask(proxy) == 200
        await proxy.records(1)
        limited = config(upstream.url, limits=[f"1000000 {unit}/total"])
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(limited))
        go_on = threading.Event()
        busy = asyncio.create_task(on_its_thread(parts.ledger._connection, lambda _: go_on.wait()))
        reload = asyncio.create_task(proxy.server.reload())
        await until(lambda: parts.recorder._ended is not None)
        assert await ask(proxy) == 200
        assert not reload.done(), "the ledger is asked for credits"
        go_on.set()
        await asyncio.gather(busy, reload)
        assert await ask(proxy) == 200
        await proxy.records(3)
        (state,) = await parts.quota.states(parts.quota.limits(), parts.now_ms())
        assert state.used == (3 if unit == "requests" else 30)
