"""The listeners: where they listen, and what a start that fails at one of them leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.server.lifecycle import Server
from proxy.server.listening import clients_max
from proxy.server.startup import StartError
from tests.support.running import config, running


async def test_every_address_is_the_one_that_was_taken(tmp_path: Path) -> None:
    settings = config("http://127.0.0.1:9/v1", listen=["127.0.0.1:0", "127.0.0.1:0"])
    async with running(tmp_path, settings) as proxy:
        addresses = proxy.server.addresses
        every = [addresses.data, *addresses.more, addresses.metrics]
        assert len({address.rpartition(":")[2] for address in every} - {"0"}) == 3
        assert addresses.admin == "", "no token, no address"


async def test_a_start_that_fails_at_the_last_address_closes_all_that_it_had_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    before = asyncio.all_tasks()
    with socket.socket() as taken, socket.socket() as free:
        for one in (taken, free):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        address, first = (f"127.0.0.1:{one.getsockname()[1]}" for one in (taken, free))
        free.close()
        settings = config("http://127.0.0.1:9/v1", listen=[first, address])
        path.write_text(yaml.safe_dump(settings))
        with pytest.raises(StartError, match=f"listen: {address} cannot be opened"):
            await Server.start(load(path, {}))
    assert asyncio.all_tasks() == before
    async with running(tmp_path, config("http://127.0.0.1:9/v1", listen=first)) as proxy:
        assert proxy.address == first, "address, data directory and journal are free again"


async def test_all_addresses_that_are_taken_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with contextlib.ExitStack() as close:
        taken = [close.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        metrics, admin, first, last = (f"127.0.0.1:{one.getsockname()[1]}" for one in taken)
        settings = config(
            "http://127.0.0.1:9/v1",
            listen=[first, "127.0.0.1:0", last],
            metrics={"listen": metrics},
            admin={
                "listen": admin,
                "tokens": {"ops": {"token": "an-admin-token-of-32-characters-x"}},
            },
        )
        path.write_text(yaml.safe_dump(settings))
        with pytest.raises(StartError) as refused:
            await Server.start(load(path, {}))
    assert [line.partition(" cannot")[0] for line in str(refused.value).splitlines()] == [
        f"metrics.listen: {metrics}",
        f"admin.listen: {admin}",
        f"listen: {first}",
        f"listen: {last}",
    ]


def test_clients_are_bounded_by_the_config_and_by_the_system() -> None:
    assert clients_max(Settings(connections_max=3)) == 3
    assert 0 < clients_max(Settings(connections_max=10**9)) < 10**9
