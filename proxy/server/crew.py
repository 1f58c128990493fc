"""Several processes of one `serve` on one machine: one parent binds, its children serve.

A connection that waits in the socket's queue is lost when a process closes a socket of its own. So
the parent opens the sockets, all children accept from them, and a child that ends loses none. A
child that dies is started again, reads the config anew, and books what its journal holds.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from proxy.config.loader import Loaded
from proxy.config.settings import AdminSettings, Settings, addresses_of, host_port
from proxy.listeners.addresses import BACKLOG, both_families, shown

LOG = logging.getLogger("tollkeeper.server")
PAUSE_MIN_S: Final = 1.0  # until a child that died is started again, twice as long each time
PAUSE_MAX_S: Final = 30.0
STEADY_S: Final = 60.0  # a child that has lived so long begins with the shortest pause again
# A child that starts has no handler yet, and a reload must not end it: it comes when it serves.
_LATER: Final = (signal.SIGHUP,)
_WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Member(msgspec.Struct, frozen=True):
    """One child: its number, the journals of all children, what it accepts from.

    parent_fd · becomes readable when the parent is gone    ready_fd · told once it serves
    """

    number: int
    names: Sequence[str]
    sockets: Sequence[socket.socket]
    parent_fd: int
    ready_fd: int

    def settings(self, settings: Settings) -> Settings:
        """The config of this child: its name, its metrics port, and the admin API for the first."""
        host, port = host_port(settings.metrics.listen)
        metrics = msgspec.structs.replace(
            settings.metrics, listen=shown((host, port + self.number if port else 0))
        )
        return msgspec.structs.replace(
            settings,
            instance=self.names[self.number],
            metrics=metrics,
            admin=settings.admin if self.number == 0 else _without_tokens(settings.admin),
        )

    def loaded(self, loaded: Loaded) -> Loaded:
        """The same for a config as it was read."""
        return msgspec.structs.replace(loaded, settings=self.settings(loaded.settings))

    def tell_ready(self) -> None:
        """Let the parent start the others, and hear of a reload that was asked for meanwhile."""
        os.write(self.ready_fd, b"r")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LATER)


class _Child:
    """A child of a number, started again and again. `pid` is None while it waits for that."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._started_s = 0.0
        self._due_s = 0.0
        self._pause_s = PAUSE_MIN_S

    def fork(self) -> bool:
        """Whether this is the child now."""
        self._started_s = time.monotonic()
        self.pid = os.fork()
        return self.pid == 0

    def ended(self) -> int | None:
        """Its exit code, if it has ended since it was last asked."""
        if self.pid is None:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        now_s = time.monotonic()
        if now_s - self._started_s >= STEADY_S:
            self._pause_s = PAUSE_MIN_S
        self.pid, self._due_s = None, now_s + self._pause_s
        self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
        return os.waitstatus_to_exitcode(status)

    def is_due(self) -> bool:
        """Whether it is to be started again now."""
        return self.pid is None and time.monotonic() >= self._due_s


class Crew:
    """The parent. `serve` runs a child to its end and returns its exit code."""

    def __init__(
        self, settings: Settings, base: str, count: int, serve: Callable[[Member], int]
    ) -> None:
        self._names = [f"{base}-{number}" for number in range(count)]
        self._serve = serve
        self._sockets = opened(settings)
        self._alive, self._parent = os.pipe()
        self._children = [_Child() for _ in range(count)]
        self._stopping = False

    def run(self) -> int:
        """Serve until stopped; the exit code. If the first child cannot start, none is."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if not self._start(0, wait=True):
            return 0 if self._stopping else 1
        for number in range(1, len(self._children)):
            self._start(number, wait=False)
        while any(child.pid is not None for child in self._children) or not self._stopping:
            told = signal.sigtimedwait(_WATCHED, 0.2)
            if told is not None and told.si_signo != signal.SIGCHLD:
                self._pass_on(told.si_signo)
            self._bury()
            self._start_due()
        return 0

    def _pass_on(self, number: int) -> None:
        self._stopping = self._stopping or number != signal.SIGHUP
        for child in self._children:
            if child.pid is not None:
                os.kill(child.pid, number)

    def _bury(self) -> None:
        for name, child in zip(self._names, self._children, strict=True):
            code = child.ended()
            if code is not None and not self._stopping:
                LOG.error("%s ended with %d and is started again", name, code)

    def _start_due(self) -> None:
        for number, child in enumerate(self._children):
            if child.is_due() and not self._stopping:
                self._start(number, wait=False)

    def _start(self, number: int, *, wait: bool) -> bool:
        """Fork a child. `wait`: until it serves; False if it ended before."""
        told, ready = os.pipe()
        child = self._children[number]
        if child.fork():
            self._become(Member(number, self._names, self._sockets, self._alive, ready))
        os.close(ready)
        serves = True
        if wait:
            while not select.select([told], [], [], 0.2)[0]:
                if (asked := signal.sigtimedwait(_WATCHED[:2], 0)) is not None:
                    self._pass_on(asked.si_signo)
            serves = os.read(told, 1) != b""
        os.close(told)
        return serves

    def _become(self, member: Member) -> None:
        """The child's life; it never returns."""
        code = 1
        try:
            os.close(self._parent)
            # Else a Ctrl-C came twice, from the parent too, and cut the drain short.
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_WATCHED} - {*_LATER})
            code = self._serve(member)
        except Exception:  # whatever it is: `os._exit` would end the child without a word of it
            LOG.critical("%s ends by a fault", self._names[member.number], exc_info=True)
        finally:
            os._exit(code)


def opened(settings: Settings) -> list[socket.socket]:
    """The listening sockets of all addresses. Raises OSError if one cannot be opened."""
    found: list[socket.socket] = []
    for address in addresses_of(settings):
        host, port = host_port(address)
        try:
            both = both_families(host, port)
            if both is None:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                both = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            why = f"{address} cannot be opened: {error.strerror or error}"
            raise OSError(error.errno, why) from error
        both.setblocking(False)
        found.append(both)
    return found


def why_not_several(settings: Settings) -> str | None:
    """Why several processes cannot have this config; None: they can."""
    if settings.ledger.url.startswith("sqlite:") or settings.quota.url == "memory:":
        return (
            "several processes need stores that they share: ledger.url must name PostgreSQL and"
            " quota.url Valkey, else limits would be counted in each process apart"
        )
    return None


def _without_tokens(admin: AdminSettings) -> AdminSettings:
    return msgspec.structs.replace(admin, tokens={})
