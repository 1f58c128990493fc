"""Which building of the counts is valid, and when they are built anew.

The server may vanish, restart empty, or be replaced by a copy that lags. The epoch's key tells: it
holds an id and the run of the server in which the counts were built. An empty server has no epoch;
one that was started or promoted since has another run. Then one instance builds all counts from
past use under a new epoch (`building`), and each instance hands in what was not booked and what it
holds (`joining`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from proxy.quota import QuotaUnavailable
from proxy.quota.valkey.building import BUILD_S, Builder, Counted, valid
from proxy.quota.valkey.calls import RESTORING, Calls, Epoch, NotAsked, Sending
from proxy.quota.valkey.joining import AT_ONCE, BEGUN, FoundEpoch, Joining
from proxy.quota.valkey.link import Link, Peer
from proxy.quota.valkey.pipeline import ConnectionLost, ServerError
from proxy.quota.valkey.reservation import SharedReservation

LOG = logging.getLogger("tollkeeper.quota")
TIDY_S: Final = 1.0
BEAT_S: Final = 1.0
CLOCK_APART_S: Final = 1.0
LATE_S: Final = 60.0  # no reserve is on its way to the server for so long
AGAIN_S: Final = 1.0  # until counts are built anew that may lack what came meanwhile
UNREADY_S: Final = 0.2  # until it is looked again whether an epoch can be entered
GONE_MAX: Final = 1_000  # epochs that are known to be over


class Epochs:
    """The epoch that this instance counts in."""

    def __init__(self, link: Link, calls: Calls, builder: Builder, joining: Joining) -> None:
        self._link = link
        self._calls = calls
        self._builder = builder
        self._joining = joining
        self._loop = asyncio.get_running_loop()
        self.running: Callable[[], Iterable[SharedReservation]] = tuple
        self.lost = asyncio.Event()  # set while the server is there and has no counts
        self.entered = 0  # how many epochs this instance has entered
        self._away_since_s: float | None = self._loop.time()
        self._found: FoundEpoch | None = None  # at the server that is being connected
        self._distrusted: Epoch | None = None
        self._gone: dict[Epoch, None] = {}
        self._again = False  # counts that are built now may lack something
        self._untidy: list[tuple[float, Epoch | None, str]] = []
        self._tidying: asyncio.TimerHandle | None = None
        self._reviewing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock_told = False
        self._spawn(self.watch())
        self._spawn(joining.watch())
        joining.distrust = self.distrust
        calls.when_stale(self.stale, self._set_back)

    @property
    def built(self) -> int:
        """How often this instance built the counts."""
        return self._builder.built

    @property
    def took_s(self) -> float | None:
        """How long this instance took to build them the last time; None: it has not yet."""
        return self._builder.took_s

    @property
    def away_s(self) -> float:
        """For how long nothing could be counted."""
        since_s = self._away_since_s
        return 0.0 if since_s is None else self._loop.time() - since_s

    async def meet(self, peer: Peer) -> None:
        """Look which epoch a server has, before anything is asked of it."""
        found = await self._valid(peer)
        self._leave()
        self._found = found

    def connected(self) -> None:
        """The server can be asked from now on."""
        found, self._found = self._found, None
        if found is None:
            self.lost.set()
        else:
            self._enter(found)

    def disconnected(self) -> None:
        """There is no server for now."""
        self.lost.clear()
        self._leave()

    def stale(self) -> None:
        """A call was answered that the server's epoch is another."""
        self._leave()
        if not self._reviewing:
            self._reviewing = True
            self._spawn(self._review())

    def distrust(self, why: str) -> None:
        """The counts have lost something although the epoch is the same: build them anew."""
        epoch = self._calls.epoch
        if epoch is not None and epoch != self._distrusted:
            self._distrusted = epoch
            LOG.error("the counts of %s are built anew: %s", self._link.address, why)

            def over(answer: list[Any], sending: Sending) -> None:
                self._end(epoch)
                self.stale()

            self._calls.deliver((b"distrust", ()), epoch, over)

    async def build(self, book: Callable[[], Awaitable[Counted]]) -> bool:
        """Build the counts if they are lost, or wait until another instance has.

        `book` is asked only where this one builds. Returns whether there are counts now.
        """
        if self._calls.epoch is not None:
            return True
        try:
            await self._builder.build(book, self._valid)
            peer = self._link.peer
            found = None if peer is None else await self._valid(peer)
        except (QuotaUnavailable, ConnectionLost, ServerError, TimeoutError) as error:
            LOG.warning("the counts of %s are not restored yet: %r", self._link.address, error)
            if isinstance(error, TimeoutError):  # nothing else asks it meanwhile
                self._link.drop("it did not answer while the counts were restored")
            found = None
        if found is not None and self._calls.epoch is None:
            self._enter(found)
        return self._calls.epoch is not None

    async def count(self, counts: Sequence[Sequence[Any]]) -> bool:
        """Have these counts where there are none yet; whether they are there now.

        Without an epoch they are in the one after next.
        """
        try:
            if self._calls.epoch is None:
                raise NotAsked(RESTORING)
            for start in range(0, len(counts), AT_ONCE):
                await self._calls.ask(b"base", counts[start : start + AT_ONCE])
        except QuotaUnavailable as error:
            LOG.warning("the counts of %s are not restored yet: %r", self._link.address, error)
            self._again = True
            self._build_again()
            return False
        return True

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

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._builder.aclose()
        if self._tidying is not None:
            self._tidying.cancel()

    async def _valid(self, peer: Peer) -> FoundEpoch | None:
        """The epoch of this server, if its counts were built in this run of it.

        An epoch that was over comes back with a server that is set back: it counts for nothing.
        """
        async with asyncio.timeout(BUILD_S):
            found = await valid(peer)
            if found is None or found in self._gone:
                return None
            return await self._joining.standing(peer, found)

    async def _review(self) -> None:
        """Find the epoch that the server has now."""
        peer = self._link.peer
        try:
            if peer is None:
                return  # the next connection looks itself
            found = await self._valid(peer)
        except TimeoutError:
            self._link.drop("it did not tell its epoch")
            return
        except (ConnectionLost, ServerError):
            return
        finally:
            self._reviewing = False
        if self._link.peer is not peer or self._calls.epoch is not None:
            return  # another look was faster
        if found is not None:
            self._enter(found)
        else:
            self.lost.set()

    def _leave(self) -> None:
        self._calls.use(None)
        self._joining.leave()
        if self._away_since_s is None:
            self._away_since_s = self._loop.time()

    def _enter(self, found: FoundEpoch) -> None:
        """Count in this epoch. A new one learns what runs and what has ended.

        One that was left for a moment learns of what was sent and not answered.
        """
        epoch, before = found.epoch, self._joining.epoch
        if epoch != before and not self._joining.can_begin(found):
            self._loop.call_later(UNREADY_S, self.stale)
            return
        self._calls.use(epoch)
        self._away_since_s = None
        self.lost.clear()
        if epoch == before:
            self._joining.again(epoch)
            self._joining.take_in(self.running())
            self._calls.resend()
            self._build_again()
            return
        if before is not None:
            self._end(before)
        self.entered += 1
        self._again |= self._calls.drop_others(epoch)
        self._calls.resend()
        self._joining.begin(found, self.running())
        if found.state == BEGUN:
            self.distrust("an earlier life of this process ended while it handed in its use")
        self._build_again()

    def _end(self, epoch: Epoch) -> None:
        """This epoch is never valid again."""
        self._gone[epoch] = None
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def _build_again(self) -> None:
        """What came while there were no counts may be in none: build them anew in a moment."""
        epoch = self._calls.epoch
        if self._again and epoch is not None:
            self._again = False
            self._joining.doubt(epoch)

            def due() -> None:
                if self._calls.epoch == epoch:
                    self.distrust("something was corrected while they were built")
                elif self._joining.epoch == epoch:
                    self._again = True  # it is not asked for a moment, and may come back

            self._loop.call_later(AGAIN_S, due)

    def _set_back(self) -> None:
        """The server lacks what it has answered, in this very epoch."""
        self.distrust("it was set back to an earlier state")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work, name="quota-epoch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tidy(self) -> None:
        now_s, epoch = self._loop.time(), self._calls.epoch
        due = [id for due_s, of, id in self._untidy if due_s <= now_s and of == epoch]
        self._untidy = [one for one in self._untidy if one[0] > now_s and one[1] == epoch]
        if due and epoch is not None:
            self._calls.deliver((b"tidy", due), epoch)
        self._tidying = self._loop.call_later(TIDY_S, self._tidy) if self._untidy else None
