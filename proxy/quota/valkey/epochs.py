"""Which building of the counts is valid, and how it is made anew.

The server may vanish, restart empty, or be replaced by a copy that lags. The epoch's key tells: it
holds an id and the run of the server in which the counts were built. An empty server has no epoch;
one that was started or promoted since has another run. Then one instance builds all counts from
past use under a new epoch, and each instance hands in what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from proxy.quota import QuotaUnavailable
from proxy.quota.valkey.calls import BASE, EPOCH_KEY, NEXT_KEY, Calls, Epoch
from proxy.quota.valkey.link import Link, Peer
from proxy.quota.valkey.pipeline import ConnectionLost, ServerError
from proxy.quota.valkey.reservation import SharedReservation

LOG = logging.getLogger("tollkeeper.quota")
LOCK_KEY: Final = BASE + b"lock"
LOCK_MS: Final = 5_000  # a builder that says nothing for so long is dead
POLL_S: Final = 0.05  # to see whether another instance has built the counts
AT_ONCE: Final = 200  # counts or holds in one call: a call blocks all others
BUILD_S: Final = 30.0  # for building all counts, or waiting until another has
TIDY_S: Final = 1.0
BEAT_S: Final = 1.0
CLOCK_APART_S: Final = 1.0
LATE_S: Final = 60.0  # no reserve is on its way to the server for so long


class Epochs:
    """The epoch that this instance counts in."""

    def __init__(self, link: Link, calls: Calls, builder: Calls) -> None:
        self._link = link
        self._calls = calls
        self._builder = builder  # the same script under the epoch that is being built
        self._loop = asyncio.get_running_loop()
        self.running: Callable[[], Iterable[SharedReservation]] = tuple
        self.lost = asyncio.Event()  # set while the server is there and has no counts
        self.built = 0  # how often this instance built the counts
        self._away_since_s: float | None = self._loop.time()
        self._marked = 0
        self._untidy: list[tuple[float, Epoch | None, str]] = []
        self._tidying: asyncio.TimerHandle | None = None
        self._reviewing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock_told = False
        self._spawn(self.watch())
        calls.when_stale(self.stale)

    @property
    def away_s(self) -> float:
        """For how long nothing could be counted."""
        since_s = self._away_since_s
        return 0.0 if since_s is None else self._loop.time() - since_s

    async def meet(self, peer: Peer) -> None:
        """Look which epoch a server has, before anything is asked of it."""
        found = await self._valid(peer)
        if found is None or found != self._calls.epoch:
            self._leave()
        if found is not None and self._calls.epoch is None:
            self._calls.use(found)

    def connected(self) -> None:
        """The server can be asked from now on."""
        if self._calls.epoch is None:
            self.lost.set()
        else:
            self._enter(self._calls.epoch)

    def disconnected(self) -> None:
        """There is no server for now."""
        self.lost.clear()
        if self._away_since_s is None:
            self._away_since_s = self._loop.time()

    def stale(self) -> None:
        """A call was answered that the server's epoch is another."""
        self._leave()
        if not self._reviewing:
            self._reviewing = True
            self._spawn(self._review())

    def distrust(self, why: str) -> None:
        """The counts have lost something although the epoch is the same: build them anew."""
        epoch = self._calls.epoch
        if epoch is not None:
            LOG.error("the counts of %s are built anew: %s", self._link.address, why)
            self._calls.deliver((b"distrust", ()), epoch, lambda told, sending: self.stale())

    def mark(self) -> None:
        """What has ended so far is in the past that `count` is given next."""
        self._marked = self._calls.newest

    async def count(self, counts: Sequence[Sequence[Any]]) -> None:
        """Have these counts where there are none yet. Without a server: once there is one."""
        try:
            if self._calls.epoch is None:
                async with asyncio.timeout(BUILD_S):
                    await self._build(counts)
            for start in range(0, len(counts), AT_ONCE):
                await self._calls.ask(b"base", counts[start : start + AT_ONCE])
        except (QuotaUnavailable, ConnectionLost, ServerError, TimeoutError) as error:
            LOG.warning("the counts of %s are not restored yet: %r", self._link.address, error)
            if isinstance(error, TimeoutError):  # nothing else asks it meanwhile
                self._link.drop("it did not answer while the counts were restored")
            self._leave()
            if self._link.usable:
                self.lost.set()
            else:
                self.lost.clear()  # until it is connected again

    def tidy(self, id: str, *, later: bool = False) -> None:
        """The server need not remember this id any more; `later`: after a while."""
        due_s = self._loop.time() + (LATE_S if later else 0.0)
        self._untidy.append((due_s, self._calls.epoch, id))
        if self._tidying is None:
            self._tidying = self._loop.call_later(TIDY_S, self._tidy)

    async def watch(self) -> None:
        """Look every second whether the server still has what it should, until cancelled.

        It finds out on a quiet day too, and sees what neither an epoch nor a run tells: holds that
        are gone after a restore in place.
        """
        while True:
            await asyncio.sleep(BEAT_S)
            epoch = self._calls.epoch
            if epoch is None or not self._link.usable:
                continue
            # What is sent first is carried out first, so the server knows of all of these.
            known = sum(held.epoch == epoch for held in self.running())
            try:
                answer = await self._calls.ask(b"beat", ())
            except QuotaUnavailable:
                continue
            if answer[2] < known and self._calls.epoch == epoch:
                self.distrust(f"it has {answer[2]} holds of at least {known}")
            self._compare(answer[1])

    def _compare(self, server_ms: int) -> None:
        """A clock that is wrong spends another day's budget, and flows at another time."""
        apart_s = abs(server_ms - time.time_ns() // 1_000_000) / 1000
        wrong = apart_s > CLOCK_APART_S
        if wrong and not self._clock_told:
            LOG.error(
                "the clocks of this machine and of the quota store %s are %.1f s apart: days and"
                " months begin by this one, rates flow by that one; set them right",
                self._link.address,
                apart_s,
            )
        self._clock_told = wrong

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

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tidying is not None:
            self._tidying.cancel()

    async def _valid(self, peer: Peer) -> Epoch | None:
        """The epoch of this server, if its counts were built in this run of it."""
        value: bytes | None = await peer.connection.call(b"GET", EPOCH_KEY)
        id, _, run_id = (value or b"").partition(b"|")
        return Epoch(id, run_id) if id and run_id == peer.run_id.encode() else None

    async def _review(self) -> None:
        """Find the epoch that the server has now."""
        peer = self._link.peer
        try:
            if peer is None:
                return  # the next connection looks itself
            async with asyncio.timeout(BUILD_S):
                found = await self._valid(peer)
        except TimeoutError:
            self._link.drop("it did not tell its epoch")
            return
        except (ConnectionLost, ServerError):
            return
        finally:
            self._reviewing = False
        if found is not None:
            self._enter(found)
        else:
            self.lost.set()

    def _leave(self) -> None:
        self._calls.use(None)
        if self._away_since_s is None:
            self._away_since_s = self._loop.time()

    def _enter(self, epoch: Epoch) -> None:
        """Count in this epoch: it learns of what was sent and not answered, then what runs."""
        if self._calls.epoch != epoch:
            self._calls.use(epoch)
        found = self._calls.epoch
        assert found is not None, "it was just entered"
        self._calls.resend()
        unknown = [held for held in self.running() if held.epoch != found and held.look.lines]
        for start in range(0, len(unknown), AT_ONCE):
            some = unknown[start : start + AT_ONCE]
            for held in some:
                held.epoch = found
            self._calls.deliver((b"join", [held.joining(None) for held in some]), found)
        self._away_since_s = None
        self.lost.clear()

    async def _build(self, counts: Sequence[Sequence[Any]]) -> None:
        """Build the counts under a new epoch, or wait until another instance has."""
        peer = self._link.peer
        if peer is None:
            raise QuotaUnavailable(self._link.why)
        me = os.urandom(16).hex().encode()
        lock = (b"SET", LOCK_KEY, me, b"NX", b"PX", b"%d" % LOCK_MS)
        while await peer.connection.call(*lock) is None:
            await asyncio.sleep(POLL_S)
            found = await self._valid(peer)
            if found is not None:
                self._enter(found)
                return
        found = await self._valid(peer)
        if found is not None:  # it was built between the look and the lock
            await self._unlock(peer, me)
            self._enter(found)
            return
        value: bytes | None = await peer.connection.call(b"GET", EPOCH_KEY)
        epoch, upto = Epoch(me, peer.run_id.encode()), self._marked
        await peer.connection.call(b"SET", NEXT_KEY, epoch.value)
        self._builder.use(epoch, NEXT_KEY)
        for start in range(0, len(counts), AT_ONCE):
            await self._builder.ask(b"base", counts[start : start + AT_ONCE])
            await peer.connection.call(b"PEXPIRE", LOCK_KEY, b"%d" % LOCK_MS)
        await self._builder.ask(b"publish", (EPOCH_KEY.decode(),))
        self.built += 1
        LOG.info("the counts of %s limits were built in %s", len(counts), self._link.address)
        self._calls.drop_through(upto)
        self._enter(epoch)
        await self._unlock(peer, me)
        if value:
            self._spawn(self._sweep(peer, value.partition(b"|")[0]))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work, name="quota-epoch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unlock(self, peer: Peer, me: bytes) -> None:
        if await peer.connection.call(b"GET", LOCK_KEY) == me:
            await peer.connection.call(b"DEL", LOCK_KEY)

    def _tidy(self) -> None:
        now_s, epoch = self._loop.time(), self._calls.epoch
        due = [id for due_s, of, id in self._untidy if due_s <= now_s and of == epoch]
        self._untidy = [one for one in self._untidy if one[0] > now_s and one[1] == epoch]
        if due and epoch is not None:
            self._calls.deliver((b"tidy", due), epoch)
        self._tidying = self._loop.call_later(TIDY_S, self._tidy) if self._untidy else None
