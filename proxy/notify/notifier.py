"""What is told to whom, once.

A notice comes in by `tell`. For each receiver that wants it, it is claimed in the ledger's
database; whose claim is new sends it. So a restart, or a second look at the same thing, tells
nothing twice. Nothing here is waited for by a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from proxy.config.settings import Settings
from proxy.core.ids import RANDOM_BYTES, uuid7
from proxy.core.notices.notice import EVENTS, Claim, Notice
from proxy.ledger import Ledger, LedgerUnavailable
from proxy.metrics.families import Families
from proxy.notify.lane import Lane, Pace, Result
from proxy.notify.receivers import NoticeReceiver, receivers_of
from proxy.notify.sending import NoticeMessage, Sender

LOG = logging.getLogger("tollkeeper.notify")

GATHER_S = 0.2  # what happens at once goes out in one message
AGAIN_S = 1.0  # until the database is asked again that could not be written
WAITING_MAX = 10_000  # notices that wait for it; beyond it the new ones are lost
RESUMED_MAX = 10_000  # notices of earlier lives that are sent after a start
RESULTS: Sequence[Result] = ("delivered", "refused", "given_up", "dropped")


class Notifier:
    """Lives on the event loop. `settings` gives the config in effect."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Callable[[], Settings],
        now_ms: Callable[[], int],
        pace: Pace | None = None,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._now_ms = now_ms
        self._pace = Pace() if pace is None else pace
        self._sender: Sender | None = None
        self._known: Settings | None = None  # the config that the receivers are of
        self._receivers: dict[str, NoticeReceiver] = {}  # by id
        self._lanes: dict[str, tuple[Lane, asyncio.Task[None]]] = {}
        self._waiting: deque[Notice] = deque()
        self._came = asyncio.Event()
        # What was claimed in this life, so that the database is not asked at each look.
        self._told: dict[tuple[str, str], int | None] = {}
        self._sent: list[str] = []  # messages to note in the database
        self._counts: dict[tuple[str, Result], int] = {}

    def wanted(self, *events: str) -> bool:
        """Whether somebody is told of any of these."""
        self._look_at_config()
        return any(
            one in receiver.events for receiver in self._receivers.values() for one in events
        )

    def tell(self, notice: Notice) -> None:
        """Tell all who want it, once. It never waits and never fails."""
        self._look_at_config()
        wanting = [one for one in self._receivers.values() if one.wants(notice)]
        # Also what was told already takes no place: some things are seen at every look.
        if all((one.id, notice.subject) in self._told for one in wanting):
            return
        if notice.event == "ledger_behind":
            # Not claimed, for the database is what fails. It may be told again after a restart.
            self._hand_on(self._addressed([notice]))
        elif len(self._waiting) < WAITING_MAX:
            self._waiting.append(notice)
            self._came.set()
        else:
            self._lost(notice, f"{WAITING_MAX} wait for the ledger")

    async def run(self) -> None:
        """Send what is told, until cancelled; first what earlier lives left."""
        resumed = late = False
        while True:
            try:
                if not resumed:
                    await self._resume()
                    resumed = True
                await self._step()
                late = False
            except LedgerUnavailable as error:
                if not late:
                    LOG.warning("notices wait for the ledger: %s", error)
                late = True
                await asyncio.sleep(AGAIN_S)
                continue
            except Exception:  # a defect of ours, which requests have nothing to do with
                LOG.exception("notices failed")
                while self._waiting:
                    self._lost(self._waiting.popleft(), "they failed")
                resumed = True
            if not (self._waiting or self._sent):
                await self._came.wait()
                self._came.clear()
            await asyncio.sleep(GATHER_S)

    async def flush(self, timeout_s: float) -> None:
        """Send what can be sent at once, for so long at most; the next start sends the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                # Several parts decide, and the wait is short.
                while self._waiting or any(lane.trying for lane, _ in self._lanes.values()):  # noqa: ASYNC110
                    await asyncio.sleep(GATHER_S / 4)
                await self._note_sent()
        except (TimeoutError, LedgerUnavailable):
            LOG.info("some notices are sent at the next start")

    async def aclose(self) -> None:
        """End what is being sent."""
        tasks = [task for _, task in self._lanes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()
        if self._sender is not None:
            await self._sender.aclose()

    def collect(self, families: Families) -> None:
        """Add the samples; in the scrape's thread. They begin at zero if there is a receiver."""
        zero: dict[tuple[str, Result], int] = {
            (event, result): 0 for event in EVENTS for result in RESULTS
        }
        known = (zero if self._receivers else {}) | self._counts.copy()
        families.counts("notifications_total", known)

    # The steps.

    async def _step(self) -> None:
        """Claim what waits and hand it on. What the ledger cannot take goes on waiting."""
        await self._note_sent()
        self._look_at_config()
        notices, now_ms = list(self._waiting), self._now_ms()
        claims = self._addressed(notices)
        if claims:
            self._hand_on(await self._ledger.claim_notices(claims, now_ms))
            for one in claims:
                self._told[one.receiver, one.notice.subject] = one.notice.until_ms
        for _ in notices:
            self._waiting.popleft()
        if len(self._told) > WAITING_MAX:
            self._told = {
                mark: until_ms
                for mark, until_ms in self._told.items()
                if until_ms is None or until_ms >= now_ms
            }

    def _addressed(self, notices: Iterable[Notice]) -> list[Claim]:
        """A row for each receiver and notice that is not known to be told, in messages."""
        found: list[Claim] = []
        notices, now_ms = list(notices), self._now_ms()
        for receiver in self._receivers.values():
            count, message_id = 0, ""
            for notice in notices:
                mark = (receiver.id, notice.subject)
                if not receiver.wants(notice) or mark in self._told:
                    continue
                if count % receiver.merged_max == 0:
                    message_id = f"msg_{uuid7(now_ms, os.urandom(RANDOM_BYTES))}"
                count += 1
                found.append(Claim(receiver=receiver.id, message_id=message_id, notice=notice))
        return found

    def _hand_on(self, rows: Iterable[Claim]) -> None:
        """Give each message to its receiver's lane, if a reload has left the receiver there."""
        messages: dict[tuple[str, str], list[Notice]] = {}
        for row in rows:
            self._told[row.receiver, row.notice.subject] = row.notice.until_ms
            messages.setdefault((row.receiver, row.message_id), []).append(row.notice)
        for (receiver_id, message_id), notices in messages.items():
            if receiver_id in self._receivers:
                self._lane(receiver_id).put(NoticeMessage(message_id, notices))

    async def _resume(self) -> None:
        """Send what earlier lives of the process claimed and did not see delivered."""
        self._look_at_config()
        fresh_ms = self._now_ms() - int(self._pace.give_up_s * 1000)
        going: list[Claim] = []
        for row in await self._ledger.unsent_notices(RESUMED_MAX):
            if row.receiver in self._receivers and row.notice.at_ms >= fresh_ms:
                going.append(row)
                continue
            self._sent.append(row.message_id)
            gone = "its receiver is gone" if row.receiver not in self._receivers else "it is old"
            self._lost(row.notice, gone, "given_up")
        self._hand_on(going)

    async def _note_sent(self) -> None:
        sent = self._sent[:]
        if sent:
            await self._ledger.notices_sent(sent)
            del self._sent[: len(sent)]

    def _look_at_config(self) -> None:
        """Follow a reload: receivers that are gone are told nothing more."""
        settings = self._settings()
        if settings is self._known:
            return
        if self._known is None or (settings.notify, settings.smtp, settings.teams) != (
            self._known.notify,
            self._known.smtp,
            self._known.teams,
        ):
            self._receivers = {receiver.id: receiver for receiver in receivers_of(settings)}
            for receiver_id in [one for one in self._lanes if one not in self._receivers]:
                _, task = self._lanes.pop(receiver_id)
                task.cancel()
            for receiver_id, (lane, _) in self._lanes.items():
                lane.use(self._receivers[receiver_id])
        self._known = settings

    def _lane(self, receiver_id: str) -> Lane:
        found = self._lanes.get(receiver_id)
        if found is None:
            if self._sender is None:
                self._sender = Sender(self._now_ms)
            lane = Lane(
                self._receivers[receiver_id], self._sender, self._done, self._now_ms, self._pace
            )
            task = asyncio.create_task(lane.run(), name=f"notices for {lane}")
            found = self._lanes[receiver_id] = (lane, task)
        return found[0]

    def _done(self, receiver: NoticeReceiver, message: NoticeMessage, result: Result) -> None:
        for notice in message.notices:
            self._count(notice.event, result, 1)
        self._sent.append(message.id)
        self._came.set()

    def _lost(self, notice: Notice, why: str, result: Result = "dropped") -> None:
        self._count(notice.event, result, 1)
        LOG.error("a notice is lost, %s: %s", why, notice.title)

    def _count(self, event: str, result: Result, count: int) -> None:
        self._counts[event, result] = self._counts.get((event, result), 0) + count
