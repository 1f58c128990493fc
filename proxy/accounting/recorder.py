"""Drains the journal into the ledger, in order, and settles what a dead process left open.

The journal is the truth until the ledger has it. A batch that the ledger cannot take is kept and
tried again until it can. Closes come from memory while few wait; behind an outage, or after a
start, they are read from the files. What is not booked when the process ends is read again at the
next start. Only the count of refusals is held in memory alone; nobody is billed for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

from proxy.accounting.end_users import EndUsers
from proxy.accounting.left_open import (
    booked_already,
    closed_between,
    count_closed,
    tell_damage,
    tell_set_back,
    tell_skipped,
)
from proxy.accounting.pending import Pending
from proxy.accounting.retries import Retries
from proxy.accounting.sent_prices import SentPrices
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.pricing.amounts import Pricing
from proxy.core.records.settlement import recovered
from proxy.core.usage import UsageRecord
from proxy.journal import Journal, JournalReader
from proxy.ledger import Batch, Close, Ledger, LedgerSetBack
from proxy.ledger.reading import Recent
from proxy.metrics.collector import Metrics

# From the first close to its batch: each batch costs as much as ten records beside what they cost,
# and two hops to other threads, which the loop pays for. At a thousand records a second they then
# fill a batch.
GATHER_S = 0.05
POLL_S = 0.5  # looks without being woken: refusals to store, closes that the journal wrote late

_LOG = logging.getLogger("tollkeeper.recorder")


class Recorder:
    """Lives on the event loop.

    `recover` comes first, then `run` beside its use, and `drain` before the end.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        metrics: Metrics,
        end_users: EndUsers,
        pricing: Pricing,
        *,
        fail: FaultPoint = no_fault,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._batch_max = ledger.batch_max
        self._metrics = metrics
        self._end_users = end_users
        self._pricing = pricing  # of what a dead process left open
        self._fail = fail
        self._now_ms = now_ms
        self._reader: JournalReader | None = None
        # Where this life of the journal began: what ended before it was never told to `wake`.
        self._start_seq: int | None = None
        self._booked_seq = 0  # closes up to here are booked
        self._in_hand: Sequence[Close] = ()
        self._busy = False
        self._told = 0  # closes of this life
        self._told_booked = 0
        self._damage = (0, 0, 0)  # what the reader had passed over when last looked
        self._behind_since_s: float | None = None
        self._pending = Pending()
        self._retries = Retries(lambda: self.backlog)
        self._booking = asyncio.Lock()  # held while a batch is booked, and by who reads the book
        self._ended: list[Recent] | None = None  # while the latter holds it: what ended since
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._running = False
        self.recovered = asyncio.Event()  # what a dead process left open has its records

    # What others tell it.

    def wake(self, record: UsageRecord) -> None:
        """This record was closed in the journal."""
        if self._ended is not None:
            self._ended.append(Recent.of(record))
        self._told += 1
        if self._behind_since_s is None:
            self._behind_since_s = time.monotonic()
        self._wake.set()

    def refused(
        self,
        key_id: str | None,
        code: str,
        now_ms: int,
        *,
        team: str | None = None,
        limit_id: str | None = None,
    ) -> None:
        """Count a refused request; the count is stored with one of the next batches."""
        self._pending.refused(key_id, code, now_ms, team=team, limit_id=limit_id)

    def price_terms(self, version: str, terms: bytes) -> None:
        """The prices in effect from now on, at the start (before `recover`) and at each reload.

        They are in the book before any record that pins them.
        """
        self._pending.price_terms(version, terms)
        self._wake.set()

    # Figures.

    @property
    def failures(self) -> int:
        """Attempts that the ledger or the journal's files refused."""
        return self._retries.failures

    @property
    def backlog(self) -> int:
        """Records closed and not yet booked.

        Those of an earlier life count as they are read, a batch at a time.
        """
        earlier = sum(1 for seq, _ in self._in_hand if seq <= (self._start_seq or 0))
        return self._told - self._told_booked + earlier

    @property
    def lag_s(self) -> float:
        """How long the oldest record that is not booked has waited, at most; 0: all is booked."""
        return 0.0 if self._behind_since_s is None else time.monotonic() - self._behind_since_s

    # Recovery.

    async def recover(self) -> int:
        """Settle what a dead process left open in this journal, before anything new is written.

        Returns the number of records made; `run` books them.
        """
        if not self.recovered.is_set():
            booked_seq = await self._retries.until_done(
                lambda: self._ledger.position(self._journal.writer)
            )
            await self._continue_after(booked_seq)
        found = self._journal.take_recovered()
        prices = SentPrices(self._pricing, (o for o, _ in found.unresolved), self.price_terms)
        # At once: else a crash before the first batch, and other prices at the next start, would
        # leave records that nobody can explain.
        if self._pending:
            batch = self._pending.batch(self._journal.writer)
            await self._retries.until_done(lambda: self._attempt(batch))
        tell_skipped(self._journal.directory, found)
        ids = [opened.id for opened, _ in found.unresolved]
        booked = await booked_already(self._ledger, ids, self._retries)
        settled = 0
        for opened, marks in found.unresolved:
            record = booked.get(opened.id)
            if record is None:
                record = recovered(
                    opened, marks, self._journal.writer, self._now_ms(), prices.of(opened)
                )
                self._metrics.record(record)
                settled += 1
            self._journal.close(record)
            self.wake(record)
        if booked:
            _LOG.warning(
                "%d requests have a record in the ledger but no end in the journal, as after a"
                " power cut; the ledger's record stands",
                len(booked),
            )
        if settled:
            _LOG.warning(
                "%d requests that a dead process left open were charged by what it had marked",
                settled,
            )
            self._metrics.recovered(settled)
        self.recovered.set()
        return settled

    def begin(self) -> None:
        """Take the journal as it is: the ledger is away, and `run` recovers once it is back."""
        self._start_seq, self._behind_since_s = self._journal.position, time.monotonic()

    async def _continue_after(self, booked_seq: int) -> None:
        """Go on behind what the ledger has of this journal."""
        journal, began = self._journal, self._start_seq
        self._booked_seq, upto_seq = booked_seq, journal.position
        if booked_seq > upto_seq:
            journal.continue_after(booked_seq)
        if began is None:
            self._start_seq = journal.position
            if self._start_seq > booked_seq:
                self._behind_since_s = time.monotonic()
        elif booked_seq > began:
            # The journal came back older: its numbers since stand for other records in the ledger.
            closed = closed_between(journal.directory, began, min(booked_seq, upto_seq))
            for record in await asyncio.to_thread(list, closed):
                journal.close(record)

    # Booking.

    async def run(self) -> None:
        """Books whatever the journal gets, until cancelled."""
        assert self._start_seq is not None, "recover first: it finds the place to go on from"
        self._running = True
        try:
            if not self.recovered.is_set():
                await self.recover()
            while True:
                while await self._book_next():
                    self._progress.set()
                self._progress.set()
                await self._rest()
        finally:
            self._running = False
            self._progress.set()
            self._forget_reader()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all that the journal has is booked, refusals and prices too.

        False if that took longer, or `run` does not run.
        """
        await asyncio.sleep(0)  # a `run` that was only just started begins now
        try:
            async with asyncio.timeout(timeout_s):
                while self._running and self._is_behind():
                    self._progress.clear()
                    self._wake.set()
                    await self._progress.wait()
        except TimeoutError:
            _LOG.warning(
                "%d records are not booked yet;"
                " the journal has them, and the next start books them",
                self.backlog,
            )
        return not self._is_behind()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[list[Recent]]:
        """Books nothing inside, so that the book can be read as it stands.

        The list holds what has ended and is not in the book; what ends meanwhile is added to it.
        """
        async with self._booking:
            ended: list[Recent] = []
            self._ended = ended
            try:
                upto_seq = self._journal.position
                ended[:0] = await asyncio.to_thread(self._unbooked, upto_seq)
                yield ended
            finally:
                self._ended = None

    def _unbooked(self, upto_seq: int) -> list[Recent]:
        """In a thread, under the lock."""
        closed = closed_between(self._journal.directory, self._booked_seq, upto_seq)
        return [Recent.of(record) for record in closed]

    async def _rest(self) -> None:
        """Waits until there may be something to book.

        It waits a moment longer, so that what comes together is booked together.
        """
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_S)
        self._wake.clear()

    async def _book_next(self) -> bool:
        """Book the next batch, however often it must be tried. True if more may be waiting."""
        upto_seq, taken_s = self._journal.position, time.monotonic()
        # Salts were made before the closes that need them were written, so these are all that the
        # batch needs.
        self._pending.salts(self._end_users.new_salts())
        if self._booked_seq == upto_seq and not self._pending:
            self._behind_since_s = None
            return False
        self._busy = True
        self._in_hand = closes = await self._next(upto_seq)
        if closes and self._behind_since_s is None:
            self._behind_since_s = taken_s
        read_all = len(closes) < self._batch_max
        position = upto_seq if read_all else closes[-1][0]
        if closes or self._pending:
            batch = self._pending.batch(self._journal.writer, closes, position)
            try:
                await self._retries.until_done(lambda: self._attempt(batch))
            except LedgerSetBack as lost:
                await self._go_back(batch, lost.position)
                return True
        self._booked_seq = position
        self._told_booked += sum(1 for seq, _ in closes if seq > (self._start_seq or 0))
        self._in_hand, self._busy = (), False
        self._journal.booked(position)
        if not read_all:
            self._behind_since_s = max(
                self._behind_since_s or taken_s, taken_s - self._age_s(closes[-1][1])
            )
        else:
            self._behind_since_s = None if self._journal.position == upto_seq else taken_s
        return not read_all

    async def _go_back(self, batch: Batch, position: int) -> None:
        """Go on behind this position, with all that the ledger may lack now."""
        directory, upto_seq = self._journal.directory, self._booked_seq
        lost = await count_closed(directory, position, upto_seq, self._retries)
        of_this_life = max(position, self._start_seq or 0)
        self._told_booked -= await count_closed(directory, of_this_life, upto_seq, self._retries)
        self._pending.again(batch)
        known = await self._retries.until_done(self._ledger.salts)
        self._end_users.store_missing(known)
        self._journal.unbooked.skip(self._journal.position)  # memory has only what is behind
        self._booked_seq, self._in_hand, self._busy = position, (), False
        self._forget_reader()
        tell_set_back(lost, self._journal.writer)

    async def _next(self, upto_seq: int) -> Sequence[Close]:
        """The next closes: from memory, or from the files until these have no more than memory."""
        if self._reader is None:
            closes = self._journal.unbooked.behind(self._booked_seq, self._batch_max, upto_seq)
            if closes is not None:
                return closes
        read = await self._retries.until_done(lambda: self._read(upto_seq))
        self._tell_damage()
        assert self._reader is not None, "it was read from just now"
        # A damaged end is told when the next entry is read.
        if len(read) < self._batch_max and self._reader.last_seq == upto_seq:
            self._forget_reader()
        return read

    async def _attempt(self, batch: Batch) -> None:
        self._fail("recorder.batch.before")
        async with self._booking:  # once an attempt: to read the book is to wait for one at most
            booked = await self._ledger.book(batch)
            if batch.position is not None:
                self._booked_seq = batch.position
        self._fail("recorder.batch.after")
        if booked.adjustments:
            _LOG.warning(
                "%d records came again and said something else; the differences are booked as"
                " adjustments (late_close)",
                booked.adjustments,
            )

    async def _read(self, upto_seq: int) -> Sequence[Close]:
        """The next closes, read in a thread.

        After a failure it begins again behind what is booked: else what the reader had passed
        would be lost.
        """
        if self._reader is None:
            self._reader = JournalReader(self._journal.directory, self._booked_seq)
            self._damage = (0, 0, 0)
        looking = asyncio.to_thread(self._reader.closes, self._batch_max, upto_seq)
        reading = asyncio.ensure_future(looking)
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            # A thread cannot be called back, and its file is closed after this.
            await asyncio.wait([reading])
            raise
        except OSError:
            self._forget_reader()
            raise

    def _age_s(self, record: UsageRecord) -> float:
        """How long ago the record's exchange ended. Later ones ended at most so long ago."""
        return max(0, self._now_ms() - record.started_at_ms - record.duration_ms) / 1000

    def _is_behind(self) -> bool:
        return self._busy or self._booked_seq != self._journal.position or bool(self._pending)

    def _tell_damage(self) -> None:
        """A record that cannot be read from the journal is lost to the bill: say so."""
        assert self._reader is not None, "it was read from just now"
        before, self._damage = (
            self._damage,
            (self._reader.undecodable, self._reader.missing, self._reader.skipped_bytes),
        )
        self._told_booked += tell_damage(self._journal.directory, before, self._damage)

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
