"""The life of the process: start errors that say what to do, a second process on one data
directory, reload all-or-nothing, drain, recovery."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sqlite3
from pathlib import Path

import msgspec
import pytest
import yaml

from proxy.config.loader import load
from proxy.core.entries import Opened
from proxy.dataplane.listener import Listener
from proxy.journal import Journal
from proxy.listeners.acceptor import AT_ONCE, Acceptor
from proxy.server.lifecycle import LAST_REQUESTS_S, Server, serve
from proxy.server.startup import StartError
from proxy.server.stop import Stop
from tests.support.journals import journal_options
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import guard, until

ASK = b'{"model":"m-1","messages":[]}'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


async def ask(
    proxy: Running, key: str = "sk-test", path: str = "/v1/chat/completions"
) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(ASK, key=key, path=path)
    answer = await client.answer()
    await client.aclose()
    return answer


async def refused_start(directory: Path, settings: dict[str, object]) -> str:
    path = directory / "second.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(StartError) as refused:
        await Server.start(load(path, {}))
    return str(refused.value)


async def test_a_second_process_on_one_data_directory_says_why_it_does_not_start(
    tmp_path: Path,
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        message = await refused_start(tmp_path, config(upstream.url))
        assert "another process" in message or "in use" in message
        assert (await ask(proxy)).status == 200  # and does the first no harm


@pytest.mark.parametrize("block", ["listen", "metrics"])
async def test_an_address_in_use_is_named(tmp_path: Path, block: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = config(
            "http://127.0.0.1:9/v1",
            **({"listen": address} if block == "listen" else {"metrics": {"listen": address}}),
        )
        assert address in await refused_start(tmp_path, settings)


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "data_dir" in await refused_start(
        tmp_path, config("http://127.0.0.1:9/v1", data_dir="file/var")
    )


async def test_a_disk_that_takes_nothing_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file may grow
    try:
        with pytest.raises(StartError, match="ledger"):
            await Server.start(load(path, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_ledger_that_cannot_be_read_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        data_dir = proxy.data_dir
    with contextlib.closing(sqlite3.connect(data_dir / "ledger.db")) as connection:
        connection.execute("DROP TABLE end_users")
    assert "end_users" in await refused_start(tmp_path, config("http://127.0.0.1:9/v1"))


async def test_a_bad_failpoint_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    with pytest.raises(StartError, match=r"TOLLKEEPER_FAILPOINTS: .*journal\.open\.befor"):
        await serve(load(path, {}), environ={"TOLLKEEPER_FAILPOINTS": "journal.open.befor=kill"})


async def test_the_data_listener_opens_last_so_that_a_start_that_fails_has_served_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[bool, set[str]]] = []
    listen = Acceptor.listen

    async def watched(acceptor: Acceptor, host: str, port: int) -> tuple[str, int]:
        names = {
            task.get_name() for task in asyncio.all_tasks() if task.get_coro().cr_frame.f_lasti > 0
        }  # type: ignore[union-attr]
        opened.append((isinstance(acceptor._factory, Listener), names))
        return await listen(acceptor, host, port)

    monkeypatch.setattr(Acceptor, "listen", watched)
    async with running(tmp_path, config("http://127.0.0.1:9/v1")):
        assert [is_data for is_data, _ in opened] == [False, True]
        assert opened[1][1] >= {"journal", "recorder"}


async def test_what_others_left_is_booked_beside_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "var" / "journal"
    first, other = Journal.claim(root, journal_options()), Journal.claim(root, journal_options())
    other.open(
        Opened(
            id="0193", started_at_ms=1, key_id="alice", endpoint="/v1/embeddings", upstream="mock"
        )
    )
    await other.aclose()
    await first.aclose()
    (root / "v9" / "lock").mkdir(parents=True)  # cannot be locked, and is tried first
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        assert (await ask(proxy)).status == 200
        assert {(row["writer"], row["origin"]) for row in await proxy.records(2)} == {
            ("w0", "proxy"),
            ("w1", "recovery"),
        }
    assert "v9 stays as it is" in caplog.text


async def test_a_reload_changes_how_end_users_are_recorded(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        kept: list[object] = []
        for count, mode in enumerate(["hash", "plain", "off", "hash"], 1):
            (tmp_path / "config.yaml").write_text(
                yaml.safe_dump(config(upstream.url, privacy={"end_user": mode}))
            )
            await proxy.server.reload()
            client = await RawClient.connect(proxy.address)
            await client.post(ASK, key="sk-test", headers=("x-end-user: someone",))
            assert (await client.answer()).status == 200
            await client.aclose()
            kept.append((await proxy.records(count))[-1]["end_user"])
        assert kept[1:3] == ["someone", None] and kept[0] == kept[3] and len(str(kept[0])) == 32


async def test_a_reload_that_trips_over_a_config_keeps_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        good = load(tmp_path / "config.yaml", {})
        for spoilt in (
            {"api_key": "sk-ключ"},
            {"ca_file": tmp_path / "gone"},
            {"base_url": "http://[x"},
        ):  # as if the checks had not seen it
            mock = msgspec.structs.replace(good.settings.upstreams["mock"], **spoilt)
            settings = msgspec.structs.replace(good.settings, upstreams={"mock": mock}, keys={})
            proxy.server._reloads._read = lambda settings=settings: msgspec.structs.replace(
                good, settings=settings
            )
            caplog.clear()
            await proxy.server.reload()
            assert (
                "the config was not reloaded, the old one stays" in caplog.text
                and "ключ" not in caplog.text
            )
            assert (await ask(proxy)).status == 200
            assert (
                "tollkeeper_config_last_reload_successful 0.0"
                in proxy.server.services.metrics.render().decode()
            )
            proxy.server._reloads._read = lambda: good
            await proxy.server.reload()
            assert (
                "tollkeeper_config_last_reload_successful 1.0"
                in proxy.server.services.metrics.render().decode()
            )


async def test_a_reload_takes_the_whole_new_config_or_keeps_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        path = tmp_path / "config.yaml"
        path.write_text(
            yaml.safe_dump(config(upstream.url, keys={"bob": {"secret": "sk-bob"}}, nonsense=1))
        )
        await proxy.server.reload()
        assert ((await ask(proxy)).status, (await ask(proxy, "sk-bob")).status) == (200, 401)
        assert "nonsense" in caplog.text
        path.write_text(
            yaml.safe_dump(
                config(upstream.url, keys={"bob": {"secret": "sk-bob"}}, data_dir="elsewhere")
            )
        )
        await proxy.server.reload()
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
        await proxy.server.reload()
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


async def test_in_the_delay_each_answer_says_that_it_is_its_connections_last(
    tmp_path: Path,
) -> None:
    """A connection that is closed without a word may just have brought a request."""
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, drain={"delay": "1h", "timeout": "10m"})) as proxy,
    ):
        old, idle = await RawClient.connect(proxy.address), await RawClient.connect(proxy.address)
        await old.post(ASK)
        assert (await old.answer()).header("connection") is None
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        for client in (old, await RawClient.connect(proxy.address)):
            await client.post(ASK)
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (200, b"close")
            assert await client.closed()
        proxy.server.stop()
        proxy.server.stop()
        await draining
        assert await idle.closed()


async def test_who_is_connected_when_the_delay_ends_is_answered(tmp_path: Path) -> None:
    """More than are accepted in one turn of the loop; the end of a listening socket resets them."""
    async with running(
        tmp_path, config("http://127.0.0.1:9/v1", drain={"delay": "1h", "timeout": "10m"})
    ) as proxy:
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        proxy.server.stop()
        proxy.server.stop()  # the delay is over when the loop turns next
        host, _, port = proxy.address.rpartition(":")
        waiting = [socket.create_connection((host, int(port))) for _ in range(4 * AT_ONCE)]
        for one in waiting:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await draining
        for one in waiting:
            assert (await asyncio.to_thread(one.recv, 4096)).startswith(b"HTTP/1.1 200 ")
            one.close()


async def test_who_was_accepted_last_has_a_moment_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that nothing came on yet: the request may be on its way."""
    last, asked = asyncio.Event(), asyncio.Event()

    async def pause(self: Stop, seconds_s: float) -> None:
        await asyncio.sleep(0)
        if seconds_s == LAST_REQUESTS_S:
            last.set()
            await asked.wait()

    monkeypatch.setattr(Stop, "pause", pause)
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, drain={"delay": "1h", "timeout": "10m"})) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        draining = asyncio.create_task(proxy.server.drain())
        async with guard():
            await last.wait()
        with pytest.raises(OSError):
            await RawClient.connect(proxy.address)
        await client.post(ASK)
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (200, b"close")
        asked.set()
        await draining
        await client.aclose()


async def test_not_ready_comes_first_so_that_load_balancers_notice(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, drain={"delay": "1h", "timeout": "10m"})) as proxy,
    ):
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        client = await RawClient.connect(proxy.address)
        await client.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "draining")
        assert (await ask(proxy)).status == 200  # still serving
        proxy.server.stop()
        proxy.server.stop()  # a second signal ends the wait
        await draining
        await client.aclose()


async def test_who_asks_whether_it_is_ready_learns_no_path_and_the_operator_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        [lock] = (proxy.data_dir / "journal").glob("*/lock")
        aside = lock.rename(tmp_path / "aside")
        await until(lambda: "not ready, requests are refused" in caplog.text)
        assert "lock of the journal was removed or replaced" in caplog.text
        client = await RawClient.connect(proxy.address)
        await client.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        said = await client.answer()
        assert (said.status, json.loads(said.body)["reason"]) == (503, "journal_unavailable")
        refusal = await ask(proxy)
        assert (refusal.status, b"cannot write its journal" in refusal.body) == (503, True)
        for body in (said.body, refusal.body):
            assert (
                b"lock" not in body and b"disk" not in body and str(tmp_path).encode() not in body
            )
        aside.rename(lock)
        await until(lambda: "ready again" in caplog.text)
        assert (await ask(proxy)).status == 200
        await client.aclose()


async def test_what_is_booked_survives_a_restart(tmp_path: Path) -> None:
    async with raw_upstream(answering) as upstream:
        for count in (1, 2, 3):
            async with running(tmp_path, config(upstream.url)) as proxy:
                assert (await ask(proxy)).status == 200
                await proxy.records(count)


async def test_by_hand_there_is_no_load_balancer_to_wait_for(tmp_path: Path) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, config(upstream.url, drain={"delay": "1h", "timeout": "10m"})) as proxy,
    ):
        proxy.server.stop(True)
        async with guard():
            await proxy.server.drain()
