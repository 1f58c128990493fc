"""Accepts the connections of a listener, at most so many at once.

An event loop by itself accepts every connection, until the process has no descriptor for its
journal. Here the newest connection that waits for a request makes room for one more: a client that
keeps its connections has older ones, and a client that has just come sends its request at once.
Where none waits, new connections stay in the kernel's queue until one ends.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from time import monotonic

from proxy.listeners.addresses import BACKLOG, sockets_at

LOG = logging.getLogger("tollkeeper.listener")

AT_ONCE = 16  # accepted in one turn of the event loop
RETRY_S = 0.05  # until it looks again whether there is room
TELL_EVERY_S = 60.0

Held = tuple[asyncio.Transport, asyncio.BaseProtocol]


class Acceptor:
    """Accepts for all addresses of one listener together.

    Each of `waits` says whether a connection only waits for its client, and so may be closed. Those
    that the first one names are closed before those of the next. `name` is the bound's name in the
    log.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        *waits: Callable[[asyncio.Transport, asyncio.BaseProtocol], bool],
        most: int,
        name: str,
    ) -> None:
        self._most = most
        self._factory = factory
        self._waits = waits
        self._name = name
        self._listening: list[socket.socket] = []
        self._open: dict[socket.socket, Held | None] = {}  # in the order in which they came
        self._look_at = 2 * AT_ONCE  # at so many it looks which of them are closed
        self._opening: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._told_s = -TELL_EVERY_S

    def allow(self, most: int) -> None:
        """Sets how many may be open from now on; those that are open already stay."""
        self._most = most

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listens at an address; returns its host and port. OSError if it cannot be opened."""
        return self.accept_from(await sockets_at(host, port))

    def accept_from(self, opened: Sequence[socket.socket]) -> tuple[str, int]:
        """Accepts from sockets that listen already; returns the first one's host and port."""
        self._listening += opened
        for listening in opened:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)
        taken: tuple[str, int] = opened[0].getsockname()[:2]
        return taken

    def take_waiting(self) -> None:
        """Accepts what the kernel's queue holds: the end of a listening socket resets all in it."""
        for listening in self._listening:
            for _ in range(BACKLOG // AT_ONCE):
                if not self._accept(listening):
                    break

    def close(self) -> None:
        """Stops accepting. Open connections stay. May be called again."""
        loop = asyncio.get_running_loop()
        if self._retry is not None:
            self._retry.cancel()
        for listening in self._listening:
            loop.remove_reader(listening.fileno())
            listening.close()
        self._listening.clear()

    def _accept(self, listening: socket.socket) -> bool:
        """Accepts the connections that have come; whether more of them may wait."""
        if len(self._open) >= min(self._most, self._look_at):
            # Others close them, at any time: a socket without a descriptor is closed.
            self._open = {one: held for one, held in self._open.items() if one.fileno() >= 0}
            self._look_at = 2 * (len(self._open) + AT_ONCE)
        for _ in range(AT_ONCE):
            newest = None
            if len(self._open) >= self._most:
                newest = self._newest_waiting()
                if newest is None:
                    self._pause(
                        f"{self._name}: {self._most} are in use,"
                        " and nobody is accepted until one ends"
                    )
                    return False
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:  # no descriptor, or no memory for a socket
                self._pause(
                    f"{self._name}: no connection can be accepted: {error.strerror or error}"
                )
                return False
            if newest is not None:
                self._tell(
                    f"{self._name}: {self._most} are open;"
                    " the newest that wait for their clients are closed"
                )
                newest.abort()
            accepted.setblocking(False)
            self._open[accepted] = None
            opening = asyncio.get_running_loop().create_task(self._hand_over(accepted))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return True

    async def _hand_over(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.connect_accepted_socket(self._factory, accepted)
        except OSError:  # it is gone already
            accepted.close()
        else:
            self._open[accepted] = (transport, protocol)

    def _newest_waiting(self) -> asyncio.Transport | None:
        for waits in self._waits:
            for held in reversed(self._open.values()):
                if held is not None and not held[0].is_closing() and waits(*held):
                    return held[0]
        return None

    def _pause(self, why: str) -> None:
        self._tell(why)
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening.fileno())
        self._retry = loop.call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.add_reader(listening.fileno(), self._accept, listening)

    def _tell(self, what: str) -> None:
        """Logs at most once a minute: a crowd of clients may keep this up."""
        now_s = monotonic()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            LOG.warning("%s", what)
