"""The life of the process: start errors that say what to do, a second process on one data directory, reload all-or-nothing, drain, recovery."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
import yaml

from proxy.config import load
from proxy.server import Server, StartError
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

ASK = b'{"model":"m-1","messages":[]}'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def ask(proxy: Running, key: str = "sk-test", path: str = "/v1/chat/completions") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(ASK, key=key, path=path)
    answer = await client.answer()
    await client.aclose()
    return answer


async def refused_start(directory: Path, settings: dict[str, object]) -> str:
    path = directory / "second.yaml"
    path.write_text(yaml.safe_dump(settings))
    server = Server(load(path, {}))
    try:
        with pytest.raises(StartError) as refused:
            await server.start()
    finally:
        await server.aclose()
    return str(refused.value)


async def test_a_second_process_on_one_data_directory_says_why_it_does_not_start(tmp_path: Path) -> None:
    async with raw_upstream(answering) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        message = await refused_start(tmp_path, config(upstream.url))
        assert "another process" in message or "in use" in message
        assert (await ask(proxy)).status == 200  # and does the first no harm


@pytest.mark.parametrize("block", ["listen", "metrics"])
async def test_an_address_in_use_is_named(tmp_path: Path, block: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = config("http://127.0.0.1:9/v1", **({"listen": address} if block == "listen" else {"metrics": {"listen": address}}))
        assert address in await refused_start(tmp_path, settings)


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "data_dir" in await refused_start(tmp_path, config("http://127.0.0.1:9/v1", data_dir="file/var"))


async def test_a_reload_takes_the_whole_new_config_or_keeps_the_old_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with raw_upstream(answering) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config(upstream.url, keys={"bob": {"secret": "sk-bob"}}, nonsense=1)))
        proxy.server.reload()
        assert ((await ask(proxy)).status, (await ask(proxy, "sk-bob")).status) == (200, 401)
        assert "nonsense" in caplog.text
        path.write_text(yaml.safe_dump(config(upstream.url, keys={"bob": {"secret": "sk-bob"}}, data_dir="elsewhere")))
        proxy.server.reload()
        assert ((await ask(proxy)).status, (await ask(proxy, "sk-bob")).status) == (401, 200)
        assert "data_dir" in caplog.text and not (tmp_path / "elsewhere").exists()
        assert [row["key_id"] for row in await proxy.records(2)] == ["alice", "bob"]


async def test_an_exchange_keeps_the_config_it_was_admitted_under(tmp_path: Path) -> None:
    arrived, changed = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await changed.wait()
        await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        running_request = asyncio.create_task(ask(proxy))
        await arrived.wait()
        moved = config("http://127.0.0.1:9/v1")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(moved))
        proxy.server.reload()
        assert (await ask(proxy)).status == 502
        changed.set()
        assert (await running_request).body == ANSWER


async def test_a_drain_refuses_new_work_and_waits_for_what_runs(tmp_path: Path) -> None:
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await finish.wait()
        await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        idle, busy = await RawClient.connect(proxy.address), await RawClient.connect(proxy.address)
        await busy.post(ASK)
        await arrived.wait()
        draining = asyncio.create_task(proxy.server.drain())
        assert await idle.closed()
        with pytest.raises(OSError):
            await RawClient.connect(proxy.address)
        assert not draining.done()
        finish.set()
        answer = await busy.answer()
        assert (answer.body, answer.header("connection")) == (ANSWER, b"close")
        await draining
        assert await busy.closed()


async def test_not_ready_comes_first_so_that_load_balancers_notice(tmp_path: Path) -> None:
    async with raw_upstream(answering) as upstream, running(tmp_path, config(upstream.url, drain={"delay": "1h", "timeout": "5s"})) as proxy:
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        client = await RawClient.connect(proxy.address)
        await client.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "the process is stopping")
        assert (await ask(proxy)).status == 200  # still serving
        proxy.server.stop()
        proxy.server.stop()  # a second signal ends the wait
        await draining
        await client.aclose()


async def test_what_is_booked_survives_a_restart(tmp_path: Path) -> None:
    async with raw_upstream(answering) as upstream:
        for count in (1, 2, 3):
            async with running(tmp_path, config(upstream.url)) as proxy:
                assert (await ask(proxy)).status == 200
                await proxy.records(count)
