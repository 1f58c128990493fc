"""How long the event loop of a proxy lets others wait: asked from outside, every 5 ms, over one
connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from time import perf_counter

INTERVAL_S = 0.005
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Pauses:
    """`answers` that came so far, and the longest wait for one. The thread only waits, so that the
    test's own work disturbs it little."""

    def __init__(self) -> None:
        self.answers = 0
        self.longest_s = 0.0
        self.stopped = threading.Event()

    def ask(self, one: socket.socket) -> None:
        while not self.stopped.wait(INTERVAL_S):
            began_s = perf_counter()
            one.sendall(HEALTH)
            answer = b""
            while not answer.endswith(b"}"):
                piece = one.recv(4096)
                assert piece, "closed"
                answer += piece
            self.longest_s = max(self.longest_s, perf_counter() - began_s)
            self.answers += 1


@contextlib.contextmanager
def pauses(address: str) -> Iterator[Pauses]:
    """Asks until the block ends."""
    host, _, port = address.rpartition(":")
    probe = Pauses()
    with socket.create_connection((host, int(port))) as one:
        thread = threading.Thread(target=probe.ask, args=(one,))
        thread.start()
        try:
            yield probe
        finally:
            probe.stopped.set()
            thread.join()
