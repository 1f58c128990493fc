"""The way to the server: connects, signs in, connects again, and runs the script there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from proxy.quota import QuotaError, QuotaUnavailable
from proxy.quota.valkey.address import Address
from proxy.quota.valkey.pipeline import (
    ConnectionLost,
    Pipeline,
    ServerError,
    fields,
)

LOG = logging.getLogger("tollkeeper.quota")
OLDEST: Final = (6, 2)  # the first Redis that finds members of a set by score in both directions
DIAL_S: Final = 5.0  # for the connection, TLS and the sign-in together
AGAIN_S: Final = (0.05, 2.0)  # between two attempts to connect: the first pause, the longest one
# An answer that is overdue by so much: the connection is dead, though neither side closed it.
DEAD_S: Final = 5.0
# The server is there but cannot serve: another may have taken its place.
_MOVED = re.compile(r"MOVED [0-9]+ (?P<host>\S*):(?P<port>[0-9]{1,5})")
_ELSEWHERE = ("READONLY", "LOADING", "MASTERDOWN", "MOVED", "ASK ", "NOAUTH", "UNBLOCKED")


class Peer:
    """The server at the other end of one connection."""

    def __init__(self, connection: Pipeline, run_id: str, version: str) -> None:
        self.connection = connection
        self.run_id = run_id  # of this run of the server: another after each start and promotion
        self.version = version


class Visitor(Protocol):
    """What is done at each new connection and at its end."""

    async def meet(self, peer: Peer) -> None:
        """Look at the server before anything is asked of it by way of `Link.run`.

        Raises QuotaUnavailable or QuotaError to have the connection closed.
        """
        ...

    def connected(self) -> None: ...

    def disconnected(self) -> None: ...


class Link:
    """One connection that is made anew whenever it is lost. Use it on the event loop only."""

    def __init__(self, address: Address, script: str, name: str) -> None:
        self.address = address
        self._script = script.encode()
        self._sha = hashlib.sha1(self._script, usedforsecurity=False).hexdigest().encode()
        self._name = name.encode()
        self._visitor: Visitor | None = None
        self._peer: Peer | None = None
        self._why = "it was not reached yet"
        self._moved: Address | None = None
        self._last = address  # where it was connected to, or tried to be
        self._keeper: asyncio.Task[None] | None = None
        self._down = asyncio.Event()
        self._down.set()
        self.connections = 0  # made so far

    @property
    def peer(self) -> Peer | None:
        """The server that is connected now."""
        return self._peer

    @property
    def usable(self) -> bool:
        """Whether something can be asked. It may still turn out to be lost."""
        return self._peer is not None and self._peer.connection.open

    @property
    def why(self) -> str:
        """Why it is not connected."""
        return self._why

    async def open(self, visitor: Visitor) -> None:
        """Connect for the first time, and keep connected from then on.

        Raises QuotaError where another attempt cannot help. A server that is away is waited for
        in the background.
        """
        self._visitor = visitor
        try:
            await self._dial()
        except (OSError, ConnectionLost, ServerError, QuotaUnavailable, TimeoutError) as error:
            self._tell_away(error)
        self._keeper = asyncio.create_task(self._keep(), name="quota-link")

    async def aclose(self) -> None:
        """Close the connection and stay away."""
        self._visitor = None  # nothing is left to tell
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._peer is not None:
            self._peer.connection.close()

    def run(self, head: bytes, tail: bytes, answered: Callable[[Any], None]) -> None:
        """Run the script; `answered` gets its answer, a ServerError or a ConnectionLost.

        `head` and `tail` are what stands before and behind the script in the command.
        """
        peer = self._peer
        if peer is None or not self.usable:
            answered(ConnectionLost(self._why))
            return
        connection = peer.connection

        def look(answer: Any) -> None:
            if isinstance(answer, ServerError):
                text = str(answer)
                if text.startswith("NOSCRIPT") and connection.open:
                    connection.ask(
                        b"%b$4\r\nEVAL\r\n$%d\r\n%b\r\n%b"
                        % (head, len(self._script), self._script, tail),
                        self._checked(connection, answered),
                    )
                    return
            self._checked(connection, answered)(answer)

        connection.ask(b"%b$7\r\nEVALSHA\r\n$40\r\n%b\r\n%b" % (head, self._sha, tail), look)

    def drop(self, why: str) -> None:
        """Close the connection, so that another is made."""
        if self._peer is not None:
            self._peer.connection.close(ConnectionLost(why))

    def _checked(
        self, connection: Pipeline, answered: Callable[[Any], None]
    ) -> Callable[[Any], None]:
        def check(answer: Any) -> None:
            if isinstance(answer, ServerError):
                text = str(answer)
                if any(code in text for code in _ELSEWHERE):
                    self._note_move(text)
                    connection.close(answer)
            elif not isinstance(answer, list | Exception):
                # What stands before the server answers for it.
                answer = ConnectionLost(f"{self.address} answers what the script never says")
                connection.close(answer)
            answered(answer)

        return check

    def _note_move(self, text: str) -> None:
        moved = _MOVED.match(text)
        if moved is not None and 0 < int(moved["port"]) <= 65_535:
            # A node may not know its name: then it is the one by which this node was reached.
            host = moved["host"] if moved["host"] not in ("", "?") else self._last.host
            self._moved = self.address.at(host, int(moved["port"]))

    async def _keep(self) -> None:
        """Connect again and again, while nobody is at the other end."""
        pause_s = AGAIN_S[0]
        while True:
            await self._down.wait()
            try:
                await self._dial()
                pause_s = AGAIN_S[0]
            except (
                OSError,
                ConnectionLost,
                ServerError,
                QuotaError,
                QuotaUnavailable,
                TimeoutError,
            ) as error:
                self._tell_away(error)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, AGAIN_S[1])

    def _tell_away(self, error: Exception) -> None:
        why = str(error) or type(error).__name__
        if why != self._why:
            LOG.warning("the quota store %s cannot be used now: %s", self.address, why)
        self._why = why

    async def _dial(self) -> None:
        visitor = self._visitor
        assert visitor is not None, "it is opened first"
        address, self._moved = self._moved or self.address, None
        self._last = address
        async with asyncio.timeout(DIAL_S):
            connection = await self._reached(address)
            try:
                peer = await self._sign_in(connection, address)
                await visitor.meet(peer)
            except (TypeError, ValueError, AttributeError) as error:
                connection.close()
                raise QuotaUnavailable(
                    f"{address} answers what no server of its kind says ({error})"
                ) from error
            except BaseException:
                connection.close()
                raise
        self._peer = peer
        self.connections += 1
        self._why = "the connection was lost"
        self._down.clear()
        if self.connections > 1:
            LOG.warning("the quota store %s is connected again", self.address)
        visitor.connected()

    async def _reached(self, address: Address) -> Pipeline:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Pipeline(self._ended),
                address.host,
                address.port,
                ssl=address.security(),
            )
        except (OSError, UnicodeError) as error:
            raise ConnectionLost(f"{address} cannot be reached: {error}") from error
        return connection

    async def _sign_in(self, connection: Pipeline, address: Address) -> Peer:
        try:
            if address.password is not None:
                signing = [part.encode() for part in (address.user, address.password) if part]
                await connection.call(b"AUTH", *signing)
            if address.database:
                await connection.call(b"SELECT", str(address.database).encode())
            with contextlib.suppress(ServerError):  # it is for CLIENT LIST alone
                await connection.call(b"CLIENT", b"SETNAME", self._name)
            told = fields(await connection.call(b"INFO"))
            _check(address, told)
            # Loads the script, and tells now whether this user may run it.
            probe = (b"EVAL", self._script, b"2", b"{tk}:probe", b"{tk}:probe", b"", b"-", b"", b"")
            await connection.call(*probe)
        except ServerError as error:
            self._note_move(str(error))
            raise _refused(address, error) from error
        return Peer(connection, told.get("run_id", ""), told.get("redis_version", "0"))

    def _ended(self, reason: Exception | None) -> None:
        if self._peer is None or self._peer.connection.open:
            return  # it never came so far
        self._peer = None
        self._why = f"the connection was lost: {reason}" if reason else "the connection was lost"
        if self._visitor is not None:
            LOG.warning("the quota store %s: %s", self.address, self._why)
            self._visitor.disconnected()
        self._down.set()


def _check(address: Address, told: Mapping[str, str]) -> None:
    """Whether a server with this INFO can be used. Raises QuotaError or QuotaUnavailable."""
    if told.get("role", "master") != "master":
        raise QuotaUnavailable(f"{address} is a replica; name the primary, or what leads to it")
    if told.get("loading", "0") != "0":
        raise QuotaUnavailable(f"{address} loads its data set")
    version = told.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise QuotaError(
            f"quota.url: {address} runs version {version}; use Valkey, or Redis 6.2 or newer"
        )
    if not told.get("run_id"):
        raise QuotaError(
            f"quota.url: {address} does not tell its run_id, by which a restart is seen; whatever"
            " stands before the server must let INFO through unchanged"
        )
    policy = told.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise QuotaError(
            f"quota.url: {address} drops keys when its memory is full (maxmemory-policy {policy}),"
            " and with them what limits have used; set maxmemory-policy noeviction"
        )


def _refused(address: Address, error: ServerError) -> Exception:
    text = str(error)
    final = text.startswith(("WRONGPASS", "NOAUTH", "NOPERM", "ERR", "DENIED"))
    if not final or "max number of clients" in text:
        return QuotaUnavailable(f"{address} refuses to serve ({text})")
    return QuotaError(
        f"quota.url: {address} refuses to serve ({text}). Check the user and the password; the user"
        " needs EVAL, EVALSHA, INFO and the commands of scripts on keys that begin with {tk}"
    )
