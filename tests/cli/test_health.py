"""`tollkeeper health`: an answer of the running process, and no config."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.cli.health import ADDRESS
from proxy.config.settings import Settings
from tests.support.running import config, running


def health(*words: str) -> Result:
    return CliRunner().invoke(main, ["health", *words], prog_name="tollkeeper")


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that says this to its first caller: its HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield "{}:{}".format(*server.getsockname())
        thread.join()


async def test_every_listener_of_a_running_process_answers(tmp_path: Path) -> None:
    settings = config("http://127.0.0.1:9/v1", drain={"delay": "10m", "timeout": "0s"})
    async with running(tmp_path, settings) as proxy:
        (tmp_path / "config.yaml").write_text("listne: what the process has refused\n")
        for address in (proxy.address, str(proxy.server.addresses.metrics)):
            for words, said in (((), "ok"), (("--ready",), "ready")):
                result = await asyncio.to_thread(health, address, *words)
                assert (result.exit_code, result.output) == (0, f"{said}\n")
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)  # to its wait for load balancers
        assert (await asyncio.to_thread(health, proxy.address)).exit_code == 0
        result = await asyncio.to_thread(health, proxy.address, "--ready")
        assert result.exit_code == 1 and "not ready (draining)" in result.output
        proxy.server.stop()
        proxy.server.stop()  # at once
        await draining


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
    result = health(address)
    assert result.exit_code == 1
    assert f"Nothing answers at {address}" in result.output and "`listen`" in result.output


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status":"ready"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\xff\xfe",
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n{"error":{}}',
    ],
)
def test_another_server_at_this_port_is_no_health(answer: bytes) -> None:
    with answering(answer) as address:
        result = health(address)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert address in result.output


@pytest.mark.parametrize("address", ["localhost:http", "127.0.0.1:", "http://127.0.0.1:8790"])
def test_what_is_no_address_is_wrong_usage(address: str) -> None:
    result = health(address)
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)


def test_it_asks_where_a_proxy_listens_by_default() -> None:
    assert Settings().listen == ADDRESS
