"""Calls of the script: those that wait for an answer, and those that are sent until they have one.

The ends of requests must arrive. They stay here in their order until they are answered, and are
sent again by the next connection, since nobody knows what the last one still carried out. So each
of them changes nothing the second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from proxy.quota import QuotaUnavailable
from proxy.quota.valkey.link import DEAD_S, Link
from proxy.quota.valkey.pipeline import ServerError

LOG = logging.getLogger("tollkeeper.quota")
AT_ONCE: Final = 50  # of what passed while the store was away; a call takes it some 50 µs
# Until what the server refused is sent again: the first pause, and the longest one. Ends pile up
# while it refuses all, and to send them all again each time would hold up everything else.
AGAIN_S: Final = (0.2, 2.0)
VERSION: Final = b"1"  # of the script's layout; another one means another epoch
BASE: Final = b"{tk}:" + VERSION + b":"
EPOCH_KEY: Final = BASE + b"epoch"
NEXT_KEY: Final = BASE + b"next"  # an epoch that is being built
_ENCODER = msgspec.msgpack.Encoder()
_DONE, _ANOTHER_EPOCH, _SET_BACK = 1, -1, -2
# What leaves its time in the epoch, so that a server that is set back to an earlier state is found
# out. The script's end has the same list.
_CHANGES: Final = frozenset(
    b"reserve extend settle slots adjust join ended joining joined give_up".split()
)
RESTORING: Final = "the counts of the quota store are being restored"


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


class Epoch(msgspec.Struct, frozen=True):
    """One building of all counts: its id, and the run of the server that it was made in."""

    id: bytes
    run_id: bytes

    @property
    def value(self) -> bytes:
        """What its key holds."""
        return self.id + b"|" + self.run_id

    @property
    def prefix(self) -> bytes:
        """How the names of its keys begin."""
        return BASE + self.id + b":"


Answered: TypeAlias = "Callable[[list[Any], Sending], None]"
What: TypeAlias = tuple[bytes, Any]  # an operation and its arguments


class NotAsked(QuotaUnavailable):
    """Nothing was sent, so nothing has to be called off."""


class Sending(msgspec.Struct, eq=False):
    """A call that is sent until it is answered.

    It means something under `epoch` alone. Under another, what `instead` says is sent in its place;
    None: nothing.
    """

    what: What
    epoch: Epoch | None
    answered: Answered
    instead: Callable[[], What | None]
    times: int = 0  # how often it was sent
    under_way: bool = False


def nothing_instead() -> None:
    """What another epoch has no use for."""


def ignore(told: list[Any], sending: Sending) -> None:
    """An answer of which nothing follows."""


class Calls:
    """The script under one epoch, for one instance."""

    def __init__(self, link: Link, instance: str, timeout_s: float) -> None:
        self._link = link
        self._instance = instance.encode()
        self._timeout_s = timeout_s
        self._stale: Callable[[], None] | None = None
        self._set_back: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self.epoch: Epoch | None = None
        self._of: Epoch | None = None  # the last one
        self._middle = b""  # the keys
        self._behind = b""  # the epoch and its prefix
        self._sending: dict[int, Sending] = {}  # by the order in which they came
        self._number = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._again: asyncio.TimerHandle | None = None
        self._pause_s = AGAIN_S[0]
        self._refusal = ""  # what was told of last
        self._later: deque[int] = deque()  # what is sent a few at a time
        self._slow = 0  # how many of these are under way
        self._silent_since_s: float | None = None  # since when no question is answered
        self.server_ms: int | None = None  # its clock, as of the last answer
        self._changed_ms = 0  # the server's time of the last change in this epoch that was answered

    def when_stale(
        self, stale: Callable[[], None], set_back: Callable[[], None] | None = None
    ) -> None:
        """Have the first called when the server's epoch turns out to be another.

        The second is called when the epoch is the same and lacks a change that was answered.
        """
        self._stale = stale
        self._set_back = set_back

    def use(self, epoch: Epoch | None, key: bytes = EPOCH_KEY) -> None:
        """Call under this epoch from now on; None: there is none, so nothing can be asked."""
        if epoch is not None and epoch != self._of:
            self._of, self._changed_ms = epoch, 0
        self.epoch = epoch
        if epoch is not None:
            self._middle = (
                b"$1\r\n2\r\n" + _bulk(key) + _bulk(epoch.prefix + b"i:" + self._instance)
            )
            self._behind = _bulk(epoch.value) + _bulk(epoch.prefix)

    async def ask(self, operation: bytes, args: Any) -> list[Any]:
        """The script's answer.

        Raises QuotaUnavailable. Then it may have been carried out, unless it is NotAsked.
        """
        epoch = self.epoch
        if epoch is None or not self._link.usable:
            raise NotAsked(RESTORING if self._link.usable else self._link.why)
        found: asyncio.Future[Any] = self._loop.create_future()

        def answered(answer: Any) -> None:
            if not found.done():
                found.set_result(answer)

        began_s = self._loop.time()
        self._run(operation, args, answered)
        timer = self._loop.call_later(self._timeout_s, answered, None)
        try:
            answer = await found
        finally:
            timer.cancel()
        if answer is None:
            since_s = began_s if self._silent_since_s is None else self._silent_since_s
            self._silent_since_s = since_s
            if self._loop.time() - since_s > DEAD_S:
                self._link.drop(f"it did not answer for {DEAD_S:g} s")
            waited_ms = self._timeout_s * 1000
            raise QuotaUnavailable(f"the quota store did not answer in {waited_ms:g} ms")
        return self._told(operation, answer, epoch)

    def deliver(
        self,
        what: What,
        epoch: Epoch | None,
        answered: Answered = ignore,
        instead: Callable[[], What | None] = nothing_instead,
    ) -> None:
        """Have the script run, now or later, until it has answered."""
        self._number += 1
        self._sending[self._number] = Sending(what, epoch, answered, instead)
        self._empty.clear()
        if self.epoch is not None and self._link.usable:
            self._send(self._number)

    def resend(self) -> None:
        """Send all that is not answered yet, in its order."""
        self._end_pause()
        self._later.clear()
        if self.epoch is None or not self._link.usable:
            return
        for number in [*self._sending]:
            sending = self._sending[number]
            if sending.under_way:
                continue
            if sending.epoch is None:
                self._later.append(number)
            else:
                self._send(number)
        self._send_later()

    def _end_pause(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _resend_refused(self) -> None:
        """Send what is not answered yet, a few at a time, until one is refused again."""
        self._again = None
        self._later = deque(
            number for number, sending in self._sending.items() if not sending.under_way
        )
        self._send_later()

    def _pause(self, number: int, refusal: str) -> None:
        """Send what was refused again after a while, the longer the more often, and it last."""
        if number in self._sending:
            self._sending[number] = self._sending.pop(number)
        if refusal != self._refusal:
            self._refusal = refusal
            LOG.warning("what ended is told to %s again: %s", self._link.address, refusal)
        if self._again is None:
            self._again = self._loop.call_later(self._pause_s, self._resend_refused)
            self._pause_s = min(2 * self._pause_s, AGAIN_S[1])

    def _send_later(self) -> None:
        """Some of what passed while the store was away: requests of now come between."""
        while (
            self._later
            and self._slow < AT_ONCE
            and self._again is None
            and self.epoch
            and self._link.usable
        ):
            number = self._later.popleft()
            if number in self._sending:
                self._slow += 1
                self._send(number, slowly=True)

    def drop_others(self, epoch: Epoch) -> bool:
        """Send nothing that was meant for another epoch: this one counts it in another way.

        Whether a correction of the book was among it, which is in no journal.
        """
        others = [number for number, sending in self._sending.items() if sending.epoch != epoch]
        corrected = any(self._sending[number].what[0] == b"adjust" for number in others)
        for number in others:
            self._done(number)
        return corrected

    async def flush(self) -> None:
        """Wait until all that was to be sent has been answered."""
        await self._empty.wait()

    def _send(self, number: int, *, slowly: bool = False) -> None:
        sending = self._sending[number]
        if sending.epoch != self.epoch:
            what = sending.instead()
            if what is None:
                self._slow -= slowly
                self._done(number)
                return
            sending.what, sending.epoch, sending.times = what, self.epoch, 0
        sending.times += 1
        sending.under_way = True

        def answered(answer: Any) -> None:
            sending.under_way = False
            self._slow -= slowly
            try:
                if self._sending.get(number) is sending:
                    self._take(number, sending, answer)
            finally:
                if slowly:
                    self._send_later()

        self._run(*sending.what, answered)

    def _take(self, number: int, sending: Sending, answer: Any) -> None:
        try:
            told = self._told(sending.what[0], answer, sending.epoch)
        except QuotaUnavailable as error:
            if self._link.usable:
                self._pause(number, str(error))
            return
        self._pause_s = AGAIN_S[0]
        sending.answered(told, sending)  # what follows from it is waited for, too
        self._done(number)

    def _done(self, number: int) -> None:
        del self._sending[number]
        if not self._sending:
            self._refusal = ""
            self._empty.set()

    def _run(self, operation: bytes, args: Any, answered: Callable[[Any], None]) -> None:
        tail = b"%b%b%b%b%b" % (
            self._middle,
            _bulk(operation),
            self._behind,
            _bulk(_ENCODER.encode(args)),
            _bulk(b"%d" % self._changed_ms),
        )
        self._link.run(b"*10\r\n", tail, answered)

    def _told(self, operation: bytes, answer: Any, epoch: Epoch | None) -> list[Any]:
        """The script's answer to what was asked under this epoch.

        Raises QuotaUnavailable for all else.
        """
        if isinstance(answer, ServerError):
            self._silent_since_s = None
            raise QuotaUnavailable(f"the quota store refused: {str(answer)[:200]}")
        if isinstance(answer, Exception):
            raise QuotaUnavailable(f"the quota store cannot be reached: {answer}")
        told: list[Any] = answer
        self._silent_since_s = None
        self.server_ms = told[1]
        if told[0] == _ANOTHER_EPOCH:
            if self.epoch == epoch and self._stale is not None:
                self._stale()
            raise QuotaUnavailable(RESTORING)
        if told[0] == _SET_BACK:
            if self.epoch == epoch and self._set_back is not None:
                self._set_back()
            raise QuotaUnavailable(RESTORING)
        if told[0] == _DONE and operation in _CHANGES and epoch == self._of:
            self._changed_ms = max(self._changed_ms, told[1])
        return told
