"""Several addresses, and both families behind `[::]`: on the loopback, where the machine has
IPv6."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.listeners.addresses import both_families, shown
from tests.support.raw import RawClient
from tests.support.running import config, running

needs_v6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def status(host: str, port: str) -> int:
    client = await RawClient.connect(f"{host}:{port}")
    await client.send(HEALTH)
    answer = await client.answer()
    await client.aclose()
    return answer.status


@needs_v6
async def test_any_address_is_any_of_both_families_on_every_listener(tmp_path: Path) -> None:
    token = {"ops": {"token": "q7Zt3Kx9vB2mW5cR8nYd"}}
    blocks = {
        "listen": "[::]:0",
        "metrics": {"listen": "[::]:0"},
        "admin": {"listen": "[::]:0", "tokens": token},
    }
    async with running(tmp_path, config("http://127.0.0.1:9/v1", **blocks)) as proxy:
        for address in (
            proxy.server.addresses.data,
            proxy.server.addresses.metrics,
            proxy.server.addresses.admin,
        ):
            assert address.startswith("[::]:")
            port = address.rpartition(":")[2]
            assert await status("127.0.0.1", port) == await status("::1", port) == 200


async def test_a_list_listens_on_each_of_its_addresses(tmp_path: Path) -> None:
    async with running(
        tmp_path, config("http://127.0.0.1:9/v1", listen=["127.0.0.1:0", "127.0.0.2:0"])
    ) as proxy:
        addresses = proxy.server.addresses
        assert [address.rpartition(":")[0] for address in (addresses.data, *addresses.more)] == [
            "127.0.0.1",
            "127.0.0.2",
        ]
        for address in (addresses.data, *addresses.more):
            host, _, port = address.rpartition(":")
            assert await status(host, port) == 200


def test_other_hosts_are_left_to_the_event_loop() -> None:
    assert both_families("127.0.0.1", 0) is None and both_families("::1", 0) is None


def test_an_address_is_shown_as_a_url_writes_it() -> None:
    assert shown(("127.0.0.1", 80)) == "127.0.0.1:80" and shown(("::1", 80)) == "[::1]:80"
