"""What this process hands in to an epoch, and whether the counts of the epoch are whole.

An epoch is built from the book. What was not booked then comes from the processes themselves: each
hands in once what runs there and what its journal has behind the position of the book. Until the
last has done so the counts may be too low, so strict limits wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from proxy.quota import Owed, QuotaUnavailable
from proxy.quota.valkey.calls import Calls, Epoch, Sending
from proxy.quota.valkey.link import Peer
from proxy.quota.valkey.reservation import SharedReservation

AT_ONCE: Final = 200  # holds or closes in one call: a call blocks all others
LOOK_S: Final = 0.05  # between two looks whether all have handed in, at first
LOOK_MAX_S: Final = 0.5
HANDED_IN: Final = b"d"
BEGUN: Final = b"j"


class FoundEpoch(msgspec.Struct, frozen=True):
    """How an epoch stands to the journal of this process.

    booked · the place in it up to which the epoch was built from the book
    state · HANDED_IN, BEGUN, or anything else if nothing was handed in
    whole · nobody is waited for
    """

    epoch: Epoch
    booked: int
    state: bytes
    whole: bool


class Joining:
    """The way of one process into each epoch. It lives on the event loop."""

    def __init__(self, calls: Calls, journal: str, position: Callable[[], int | None]) -> None:
        self._calls = calls
        self._journal = journal
        self._position = position
        self._loop = asyncio.get_running_loop()
        self._owed: Owed | None = None
        self._asks = asyncio.Event()  # while `_owed` is to be answered
        self._unanswered = 0  # calls that hand in
        self._partial = asyncio.Event()  # while this process waits for others
        self._since_s: float | None = self._loop.time()  # since when the counts are not whole
        self._joined_epoch: Epoch | None = None  # the last one in which all was handed in
        self._whole_epoch: Epoch | None = None  # the last one that was whole
        self._doubted: Epoch | None = None  # it may lack something, and is built anew
        self.distrust: Callable[[str], None] = lambda why: None
        self.epoch: Epoch | None = None  # joined last, or being joined
        self._whole = asyncio.Event()
        self.waiting: tuple[str, ...] = ()  # the journals that are waited for

    @property
    def is_whole(self) -> bool:
        """Whether the counts of the epoch have all that was used."""
        return self._whole.is_set()

    @property
    def partial_s(self) -> float:
        """For how long there were no whole counts; 0: there are."""
        return 0.0 if self._since_s is None else self._loop.time() - self._since_s

    async def standing(self, peer: Peer, epoch: Epoch) -> FoundEpoch:
        """How this epoch of a server stands to this process. Raises as the connection does."""
        call, journal = peer.connection.call, self._journal.encode()
        booked: bytes | None = await call(b"HGET", epoch.prefix + b"P", journal)
        state: bytes | None = await call(b"HGET", epoch.prefix + b"J", journal)
        whole: int = await call(b"EXISTS", epoch.prefix + b"whole")
        return FoundEpoch(epoch, int(booked or 0), state or b"", bool(whole))

    def can_begin(self, found: FoundEpoch) -> bool:
        """Whether all that was used before can be told from all that will be."""
        return found.state == HANDED_IN or self._position() is not None

    def begin(self, found: FoundEpoch, running: Iterable[SharedReservation]) -> None:
        """Join an epoch, in one step: what ends from now on is settled in it.

        What has ended before is in the journal, and what runs is handed in as it stands.
        """
        self.leave()
        self.epoch = found.epoch
        self._unanswered = 0
        if found.state == HANDED_IN:  # by an earlier life of this process
            self._owed = None
            self._learn(found.epoch, found.whole, ())
            return
        upto = self._position()
        assert upto is not None, "it can begin"
        self._owed = Owed(found.booked, upto)
        self._calls.deliver((b"joining", (self._journal,)), found.epoch)
        self.take_in(running)
        if upto > found.booked:
            self._asks.set()
        else:
            self._given()

    def again(self, epoch: Epoch) -> None:
        """The epoch that was left is there again, and lacks nothing."""
        if self._owed is not None:
            self._asks.set()
        else:
            self._learn(epoch, epoch == self._whole_epoch, self.waiting)

    def take_in(self, running: Iterable[SharedReservation]) -> None:
        """Hand in what runs here and the epoch does not know."""
        unknown = [held for held in running if held.epoch != self.epoch and held.look.lines]
        for held in unknown:
            held.epoch = self.epoch
        self._hand_in(b"join", [held.joining(None) for held in unknown])

    async def owed(self) -> Owed:
        """Wait until closes of the journal are asked for; which ones."""
        while self._owed is None or not self._asks.is_set():
            await self._asks.wait()
        return self._owed

    def hand_in(self, owed: Owed, ended: Sequence[Any]) -> None:
        """Answer `owed` with what ended. It does nothing if the epoch is another by now."""
        if owed is self._owed:
            self._hand_in(b"ended", ended)
            self._given()

    def leave(self) -> None:
        """There is no epoch to count in, or it is not known."""
        self._whole.clear()
        self.waiting = ()
        self._asks.clear()
        self._partial.clear()
        if self._since_s is None:
            self._since_s = self._loop.time()

    def doubt(self, epoch: Epoch) -> None:
        """The counts of this epoch are not whole, and will not be: others are built in a moment."""
        self._doubted = epoch
        self._learn(epoch, False, self.waiting)

    async def whole(self) -> None:
        """Wait until the counts have all that was used."""
        await self._whole.wait()

    async def incomplete(self) -> tuple[str, ...]:
        """Wait until other processes are waited for; their journals."""
        await self._partial.wait()
        return self.waiting

    async def watch(self) -> None:
        """Look whether all have handed in, until cancelled: often at first."""
        while True:
            await self._partial.wait()
            await asyncio.sleep(min(LOOK_MAX_S, max(LOOK_S, self.partial_s / 10)))
            epoch = self._calls.epoch
            if epoch is not None and epoch == self.epoch and self._partial.is_set():
                with contextlib.suppress(QuotaUnavailable):
                    self._learn(epoch, *_told(await self._calls.ask(b"waits", ())))

    def _hand_in(self, operation: bytes, ones: Sequence[Any]) -> None:
        epoch = self.epoch

        def answered(answer: list[Any], sending: Sending) -> None:
            if self.epoch == epoch:
                self._unanswered -= 1
                self._say_so()

        for start in range(0, len(ones), AT_ONCE):
            self._unanswered += 1
            self._calls.deliver((operation, ones[start : start + AT_ONCE]), epoch, answered)

    def _given(self) -> None:
        """All of it is on its way."""
        self._owed = None
        self._asks.clear()
        self._say_so()

    def _say_so(self) -> None:
        """Say that this process has handed in all, once all of it is answered."""
        epoch = self.epoch
        if self._owed is not None or self._unanswered or epoch is None:
            return

        def joined(answer: list[Any], sending: Sending) -> None:
            self._joined_epoch = epoch
            self._learn(epoch, *_told(answer))

        self._calls.deliver((b"joined", (self._journal,)), epoch, joined)

    def _learn(self, epoch: Epoch, whole: bool, waiting: tuple[str, ...]) -> None:
        if self.epoch != epoch or self._calls.epoch != epoch:
            return
        self.waiting = () if whole else waiting
        if self._journal in self.waiting and self._joined_epoch == epoch:
            self.distrust("it does not know that this process has handed in its use")
        if whole and epoch != self._doubted:
            self._whole.set()
            self._whole_epoch, self._since_s = epoch, None
            self._partial.clear()
        else:
            self._whole.clear()
            self._partial.set()
            if self._since_s is None:
                self._since_s = self._loop.time()


def _told(answer: list[Any]) -> tuple[bool, tuple[str, ...]]:
    return bool(answer[2]), tuple(name.decode() for name in answer[3])
