"""One receiver's messages: one after the other, each tried again until it is taken or given up.

A receiver that fails holds up nobody but itself. Its queue is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from proxy.notify.attempt import Attempt
from proxy.notify.receivers import NoticeReceiver
from proxy.notify.sending import NoticeMessage, Sender

LOG = logging.getLogger("tollkeeper.notify")

QUEUE_MAX = 5000  # messages; beyond it the new ones are lost, and the log says so

Result = Literal["delivered", "refused", "given_up", "dropped"]
# What became of a message; `Notifier` counts it and notes it in the database.
Done = Callable[[NoticeReceiver, NoticeMessage, Result], None]


class Pace(msgspec.Struct, frozen=True):
    """How often a receiver is asked. Tests have less time.

    apart_s · between two messages for people: Slack takes one a second
    first_s, longest_s · the wait after a failure, doubled each time, with a share of chance
    give_up_s · so old a message is of no use any more
    """

    apart_s: float = 1.0
    first_s: float = 2.0
    longest_s: float = 600.0
    give_up_s: float = 86_400.0


class Lane:
    """Lives on the event loop. `run` sends what `put` was given, until it is cancelled."""

    def __init__(
        self,
        receiver: NoticeReceiver,
        sender: Sender,
        done: Done,
        now_ms: Callable[[], int],
        pace: Pace,
    ) -> None:
        self._receiver = receiver
        self._sender = sender
        self._done = done
        self._now_ms = now_ms
        self._pace = pace
        self._queue: deque[NoticeMessage] = deque()
        self._filled = asyncio.Event()
        self._failing = False  # it was told that this receiver fails

    @property
    def trying(self) -> bool:
        """Whether there is something to send that has not just failed."""
        return bool(self._queue) and not self._failing

    def use(self, receiver: NoticeReceiver) -> None:
        """The same receiver under a new config."""
        self._receiver = receiver

    def put(self, message: NoticeMessage) -> None:
        """Send this after what is here already."""
        if len(self._queue) >= QUEUE_MAX:
            LOG.error(
                "a notice for %s is lost, %d wait already: %s",
                self._receiver.name,
                QUEUE_MAX,
                message.notices[0].title,
            )
            self._done(self._receiver, message, "dropped")
            return
        self._queue.append(message)
        self._filled.set()

    async def run(self) -> None:
        """Send, until cancelled."""
        while True:
            await self._filled.wait()
            while self._queue:
                message = self._queue[0]
                result = await self._sent(message)
                self._queue.popleft()
                self._done(self._receiver, message, result)
                await asyncio.sleep(self._pace.apart_s if self._receiver.merged_max > 1 else 0)
            self._filled.clear()

    async def _sent(self, message: NoticeMessage) -> Result:
        wait_s = self._pace.first_s
        while True:
            try:
                attempt = await self._sender.send(self._receiver, message)
            except Exception:  # a defect of ours with this message; the next ones are to go out
                LOG.exception("a notice for %s cannot be sent", self._receiver.name)
                return "refused"
            if attempt.result == "delivered":
                self._tell_delivered(attempt)
                return "delivered"
            if attempt.result == "refused":
                self._tell_lost(message, f"refused by {self._receiver.where}: {attempt.said}")
                return "refused"
            age_s = (self._now_ms() - message.notices[0].at_ms) / 1000
            if age_s >= self._pace.give_up_s:
                self._tell_lost(message, f"given up after {age_s:.0f} s: {attempt.said}")
                return "given_up"
            self._tell_failing(attempt)
            await asyncio.sleep(max(wait_s * random.uniform(0.75, 1.25), attempt.wait_s))
            wait_s = min(2 * wait_s, self._pace.longest_s)

    def _tell_failing(self, attempt: Attempt) -> None:
        """Once for each row of failures."""
        if not self._failing:
            self._failing = True
            LOG.warning(
                "notices for %s (%s) wait, it is tried again: %s",
                self._receiver.name,
                self._receiver.where,
                attempt.said,
            )

    def _tell_delivered(self, attempt: Attempt) -> None:
        if self._failing:
            self._failing = False
            LOG.warning("notices for %s are delivered again", self._receiver.name)
        if attempt.partly:
            LOG.warning("a notice for %s: %s", self._receiver.name, attempt.said)

    def _tell_lost(self, message: NoticeMessage, why: str) -> None:
        for notice in message.notices:
            LOG.error("a notice for %s is lost, %s: %s", self._receiver.name, why, notice.title)
