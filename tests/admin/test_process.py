"""Which process answers, and how it is; on the control socket, and over TCP where a token is
configured."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from proxy import __version__
from proxy.admin.process import Process
from proxy.cli import admin_client
from proxy.cli.common import Failed
from proxy.config.loader import load
from proxy.server.lifecycle import Server
from proxy.server.startup import StartError
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

PATH = "/admin/v1/health"
ADMIN = {
    "listen": "127.0.0.1:0",
    "tokens": {"ops": {"token": "secret-a-q7Zt3Kx9vB2mW5cR8nYd", "role": "admin"}},
}


async def state(proxy: Running, environ: dict[str, str] | None = None) -> Process:
    process = admin_client.running(proxy.data_dir, environ or {})
    assert process is not None
    return await asyncio.to_thread(admin_client.ask, process, "GET", PATH, type=Process)


async def test_it_says_who_it_is_and_what_it_has_in_hand(tmp_path: Path) -> None:
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def waiting(visit: Visit) -> None:
        arrived.set()
        await finish.wait()
        await visit.answer(b'{"choices":[]}')

    async with raw_upstream(waiting) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(b'{"model":"m-1","messages":[]}')
        await arrived.wait()
        found = await state(proxy)
        assert (
            found.version,
            found.pid,
            found.ready,
            found.why_not_ready,
            found.open_exchanges,
        ) == (__version__, os.getpid(), True, None, 1)
        assert found.price_version == proxy.server.snapshot.prices.version
        assert found.started_at_ms <= proxy.server.services.now_ms()
        finish.set()
        await client.answer()
        await client.aclose()
        await proxy.records(1)
        assert msgspec.structs.replace(await state(proxy), open_exchanges=1) == found


async def test_a_process_that_stops_says_so_to_the_end(tmp_path: Path) -> None:
    async with running(
        tmp_path, config("http://127.0.0.1:9/v1", drain={"delay": "1h", "timeout": "10m"})
    ) as proxy:
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        assert (await state(proxy)).why_not_ready == "the process is stopping"
        proxy.server.stop()
        proxy.server.stop()
        await draining
        assert (await state(proxy)).ready is False


async def test_over_tcp_with_a_token_and_not_at_all_without_one(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", admin=ADMIN)) as proxy:
        url = f"http://{proxy.server.addresses.admin}"
        assert (
            await state(
                proxy, {admin_client.URL: url, admin_client.TOKEN: "secret-a-q7Zt3Kx9vB2mW5cR8nYd"}
            )
        ).pid == os.getpid()
        with pytest.raises(Failed, match="invalid_admin_token"):
            await state(proxy, {admin_client.URL: url})
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        assert proxy.server.addresses.admin == ""
        assert (await state(proxy)).pid == os.getpid()


async def test_a_path_too_long_for_a_socket_keeps_nobody_from_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", data_dir="d" * 100)) as proxy:
        assert admin_client.running(proxy.data_dir, {}) is None
        assert proxy.server.addresses.data
    assert [
        record.levelname for record in caplog.records if "shorter data_dir" in record.message
    ] == ["WARNING"]


async def test_an_admin_address_in_use_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1", admin=ADMIN)) as proxy:
        address = proxy.server.addresses.admin
        (tmp_path / "second").mkdir()
        with pytest.raises(StartError, match=rf"admin\.listen: {address} cannot be opened"):
            async with running(
                tmp_path / "second",
                config("http://127.0.0.1:9/v1", admin=ADMIN | {"listen": address}),
            ):
                pass
        assert (await state(proxy)).ready


async def test_a_second_process_takes_nothing_from_the_first(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        with pytest.raises(StartError, match="in use"):
            await Server.start(load(tmp_path / "config.yaml", {}))
        assert (await state(proxy)).ready
