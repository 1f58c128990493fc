"""Building all counts anew under a new epoch: by one instance, from one state of the book."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.quota import QuotaUnavailable
from proxy.quota.valkey.calls import BASE, EPOCH_KEY, NEXT_KEY, Calls, Epoch
from proxy.quota.valkey.joining import AT_ONCE, FoundEpoch
from proxy.quota.valkey.link import Link, Peer
from proxy.quota.valkey.pipeline import ConnectionLost, ServerError

LOG = logging.getLogger("tollkeeper.quota")
LOCK_KEY: Final = BASE + b"lock"
LOCK_MS: Final = 5_000  # a builder that says nothing for so long is dead
POLL_S: Final = 0.05  # to see whether another instance has built the counts
BUILD_S: Final = 30.0  # for one answer, and for another instance to build the counts


class Counted(msgspec.Struct, frozen=True):
    """What the counts are built from: see `proxy.quota.Book`, with the past as counts."""

    counts: Sequence[Sequence[Any]]
    positions: Mapping[str, int]
    live: Sequence[str]


async def valid(peer: Peer) -> Epoch | None:
    """The epoch of this server, if its counts were built in this run of it."""
    value: bytes | None = await peer.connection.call(b"GET", EPOCH_KEY)
    id, _, run_id = (value or b"").partition(b"|")
    return Epoch(id, run_id) if id and run_id == peer.run_id.encode() else None


class Builder:
    """Builds, or waits for the instance that does. `calls` are for the epoch that is built."""

    def __init__(self, link: Link, calls: Calls) -> None:
        self._link = link
        self._calls = calls
        self._sweeping: set[asyncio.Task[None]] = set()
        self.built = 0  # so often
        self.took_s: float | None = None  # the last time

    async def build(
        self,
        book: Callable[[], Awaitable[Counted]],
        found: Callable[[Peer], Awaitable[FoundEpoch | None]],
    ) -> None:
        """Return once there are counts that hold.

        Raises QuotaUnavailable, ConnectionLost, ServerError or TimeoutError, and what `book` does.
        """
        peer = self._link.peer
        if peer is None:
            raise QuotaUnavailable(self._link.why)
        me = os.urandom(16).hex().encode()
        async with asyncio.timeout(BUILD_S):
            lock = (b"SET", LOCK_KEY, me, b"NX", b"PX", b"%d" % LOCK_MS)
            while await peer.connection.call(*lock) is None:
                await asyncio.sleep(POLL_S)
                if await found(peer) is not None:
                    return
        async with self._locked(peer, me):
            if await found(peer) is None:  # else it was built between the look and the lock
                await self._build(peer, Epoch(me, peer.run_id.encode()), book)

    async def aclose(self) -> None:
        for task in self._sweeping:
            task.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)

    async def _build(
        self, peer: Peer, epoch: Epoch, book: Callable[[], Awaitable[Counted]]
    ) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        # Not before the lock: of what comes after the old epoch, all is in the new one.
        given = await book()
        async with asyncio.timeout(BUILD_S):
            value: bytes | None = await peer.connection.call(b"GET", EPOCH_KEY)
            await peer.connection.call(b"SET", NEXT_KEY, epoch.value)
        self._calls.use(epoch, NEXT_KEY)
        for start in range(0, len(given.counts), AT_ONCE):
            await self._calls.ask(b"base", given.counts[start : start + AT_ONCE])
        positions = [(journal, str(seq)) for journal, seq in given.positions.items()]
        for start in range(0, len(positions), AT_ONCE):
            await self._calls.ask(b"stand", (positions[start : start + AT_ONCE], ()))
        await self._calls.ask(b"stand", ((), given.live))
        await self._calls.ask(b"publish", (EPOCH_KEY.decode(),))
        self.built += 1
        self.took_s = loop.time() - began_s
        LOG.info(
            "%d counts were built in %s in %.3f s; %d processes hand in what is not in the book",
            len(given.counts),
            self._link.address,
            self.took_s,
            len(given.live),
        )
        if value:
            self._sweep_soon(self._sweep(peer, value.partition(b"|")[0]))

    @contextlib.asynccontextmanager
    async def _locked(self, peer: Peer, me: bytes) -> AsyncIterator[None]:
        """Keep the lock for as long as it is needed: to read a large book takes its time."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(LOCK_MS / 3000)
                await peer.connection.call(b"PEXPIRE", LOCK_KEY, b"%d" % LOCK_MS)

        keeping = asyncio.create_task(keep(), name="quota-lock")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            with contextlib.suppress(ConnectionLost, ServerError, TimeoutError):
                async with asyncio.timeout(BUILD_S):
                    if await peer.connection.call(b"GET", LOCK_KEY) == me:
                        await peer.connection.call(b"DEL", LOCK_KEY)

    def _sweep_soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="quota-sweep")
        self._sweeping.add(task)
        task.add_done_callback(self._sweeping.discard)

    async def _sweep(self, peer: Peer, gone: bytes) -> None:
        """Remove what an earlier epoch left: nobody reads it again."""
        cursor = b"0"
        with contextlib.suppress(ConnectionLost, ServerError):
            while True:
                scan = (b"SCAN", cursor, b"MATCH", BASE + gone + b":*", b"COUNT", b"500")
                cursor, names = await peer.connection.call(*scan)
                if names:
                    await peer.connection.call(b"UNLINK", *names)
                if cursor == b"0":
                    return
