"""Sends events in batches until a receiver has all of them: each at least once, in their order."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Final, Protocol

import msgspec

from proxy.accounting.export.cloudevents import LedgerEvent, batch

FIRST_WAIT_S: Final = 1.0
WAIT_MAX_S: Final = 60.0


class Attempted(Protocol):
    """What a request came to: see `proxy.notify.attempt.Attempt`."""

    @property
    def result(self) -> str: ...
    @property
    def said(self) -> str: ...
    @property
    def wait_s(self) -> float: ...


class NotTaken(Exception):
    """The receiver did not take an event: `refused` says that it never will.

    `event` is the first one that it has not got. `said` is its answer, for people.
    """

    def __init__(self, event: LedgerEvent, said: str, *, refused: bool) -> None:
        super().__init__(said)
        self.event = event
        self.said = said
        self.refused = refused


class Pushed(msgspec.Struct, frozen=True):
    """How many events were taken, in how many requests, and the seq of the last one."""

    events: int
    requests: int
    last_seq: int | None


class Pusher:
    """Sends to one receiver.

    post · one attempt with this body    taken · keeps how far the receiver has got
    batch_max · events a request    give_up_s · how long one batch is tried again
    """

    def __init__(
        self,
        post: Callable[[bytes], Awaitable[Attempted]],
        taken: Callable[[LedgerEvent], None],
        *,
        batch_max: int,
        give_up_s: float,
        told: Callable[[int], None] = lambda _events: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._post = post
        self._taken = taken
        self._batch_max = batch_max
        self._give_up_s = give_up_s
        self._told = told
        self._sleep = sleep
        self._now_s = now_s
        self._requests = 0

    async def push(self, events: Iterable[LedgerEvent]) -> Pushed:
        """Send all of them. No more than one batch is in memory. Raises NotTaken."""
        done, last_seq, size = 0, None, self._batch_max
        coming = iter(events)
        waiting: list[LedgerEvent] = []
        while True:
            waiting += itertools.islice(coming, self._batch_max - len(waiting))
            if not waiting:
                return Pushed(done, self._requests, last_seq)
            part = waiting[:size]
            if not await self._is_taken(part):
                # One of them is refused, or all together are too large: fewer are tried.
                size = len(part) // 2
                continue
            self._taken(part[-1])
            done, last_seq = done + len(part), part[-1].seq
            self._told(len(part))
            waiting = waiting[len(part) :]
            size = min(self._batch_max, 2 * size)

    async def _is_taken(self, part: Sequence[LedgerEvent]) -> bool:
        """False: the receiver refuses them together. Raises NotTaken for a single one."""
        began_s = self._now_s()
        for tried in itertools.count():
            self._requests += 1
            attempt = await self._post(batch(part))
            if attempt.result == "delivered":
                return True
            if attempt.result == "refused":
                if len(part) > 1:
                    return False
                raise NotTaken(part[0], attempt.said, refused=True)
            wait_s = min(FIRST_WAIT_S * 2.0 ** min(tried, 30), WAIT_MAX_S)
            wait_s = max(wait_s * random.uniform(0.5, 1.0), attempt.wait_s)
            if self._now_s() + wait_s - began_s > self._give_up_s:
                raise NotTaken(part[0], attempt.said, refused=False)
            await self._sleep(wait_s)
        raise AssertionError("it counts for ever")
