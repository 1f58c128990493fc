"""The life of the process: it starts whole, serves until told to stop, and stops in order.

Start: ledger (locks the data directory) → journal → recovery of what a crash left → metrics, admin
→ the clients' listener. Stop: not ready, wait for load balancers, no new connections, wait for
running requests, end and book the others, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Self

import aiohttp.http_parser

from proxy.config.loader import Loaded
from proxy.core.clock import SteadyClock
from proxy.core.errors import ProxyError
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.http.health import Health
from proxy.dataplane.counting.vocabulary import Vocabularies
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.listener import Listener
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.notify.notifier import Notifier
from proxy.quota.watch import tell_limits
from proxy.server.book_check import check_newest
from proxy.server.config_history import begin_history
from proxy.server.crew import Member
from proxy.server.failpoints import Failpoints
from proxy.server.following import Following
from proxy.server.late_ledger import LateLedger
from proxy.server.listening import Addresses, Front, acceptor_of, open_data, open_side
from proxy.server.notices import NoticeWatch
from proxy.server.readiness import Readiness
from proxy.server.reload import Reloads, describe, tell_faults
from proxy.server.shared_counts import keep_whole
from proxy.server.startup import StartError, compiled, count_what_was_used, opened, pages_of
from proxy.server.stop import Stop
from proxy.server.tasks import Tasks
from proxy.server.tenancy import Tenancy

LOG = logging.getLogger("tollkeeper.server")

WATCH_INTERVAL_S = 1.0  # resolution of all the long timeouts
# How long a stop waits for the ledger; the next start books the rest. With what else may hang it
# stays below the 15 s behind the drain that supervisors are told.
BOOK_AT_STOP_S = 9.0
TELL_AT_STOP_S = 2.0  # the same for notices, beside it
# The end of the drain's delay: nobody is accepted any more, and who just was is still served.
LAST_REQUESTS_S = 0.5
# How long another thread may keep the interpreter while the event loop waits for it: the booking
# thread took the default of 5 ms whenever it had a batch, and every stream felt it.
SWITCH_INTERVAL_S = 0.0005
# the defaults collect every few requests; hardly anything here forms cycles
GC_THRESHOLDS = (20_000, 50, 100)


async def serve(
    loaded: Loaded,
    *,
    ready: Callable[[Addresses], None] | None = None,
    reload: Callable[[], Loaded] | None = None,
    environ: Mapping[str, str] | None = None,
    member: Member | None = None,
) -> None:
    """Runs the proxy until SIGTERM or SIGINT. Raises StartError.

    A second signal cuts the drain short. SIGHUP calls `reload`. `member`: this is a child of a
    parent that has opened the clients' listeners.
    """
    if not hasattr(aiohttp.http_parser, "HttpRequestParserC"):
        raise StartError(
            "aiohttp lacks its C extension, whose parser this proxy relies on."
            " Install a wheel of aiohttp for this platform."
        )
    try:
        spec = (environ or {}).get("TOLLKEEPER_FAILPOINTS")
        fail: FaultPoint = Failpoints(spec) if spec else no_fault
    except ValueError as error:
        raise StartError(
            f"TOLLKEEPER_FAILPOINTS: {error}. Correct it; outside of fault tests, leave it unset."
        ) from error
    server = await Server.start(loaded, fail, reload, member=member)
    try:
        server.handle_signals()
        if member is not None:
            server.leave_with(member)
        if ready is not None:
            ready(server.addresses)
        await server.stop_asked()
        await server.drain()
    finally:
        await server.aclose()


class Server:
    """The running process: `start` makes it, then `stop_asked`, `drain`, `aclose`."""

    def __init__(
        self,
        services: Services,
        front: Front,
        reloads: Reloads,
        readiness: Readiness,
        notifier: Notifier,
        tasks: Tasks,
        stop: Stop,
        close: contextlib.AsyncExitStack,
    ) -> None:
        self.services = services
        self.front = front
        self._notifier = notifier
        self._reloads = reloads
        self._readiness = readiness
        self._tasks = tasks
        self._stop = stop
        self._close = close

    @classmethod
    async def start(
        cls,
        loaded: Loaded,
        fail: FaultPoint = no_fault,
        reload: Callable[[], Loaded] | None = None,
        vocabularies: Vocabularies | None = None,
        member: Member | None = None,
    ) -> Self:
        """A process that serves. Raises StartError; everything is closed again then."""
        snapshot = compiled(loaded.settings)
        clock = SteadyClock()
        stop = Stop()
        tasks = Tasks(failed=stop.ask)
        async with contextlib.AsyncExitStack() as close:
            services, book = await opened(
                snapshot,
                close,
                fail=fail,
                vocabularies=Vocabularies() if vocabularies is None else vocabularies,
                clock=clock,
            )
            snapshot = snapshot.with_tenants(services.directory.settings)
            close.push_async_callback(tasks.cancel)
            tasks.spawn(services.journal.run(), "journal")
            tasks.spawn(services.recorder.run(), "recorder")
            tasks.spawn(services.counter.run(), "counter")
            kept = () if member is None else member.names
            adopting = await count_what_was_used(
                services, snapshot, tasks, kept, is_there=book.is_there
            )
            settings = snapshot.settings
            if book.is_there:
                await check_newest(services.reader, settings.data_dir / settings.ledger.key_file)
            describe(services, snapshot.settings)
            tell_faults(services.directory)
            readiness = Readiness(services.journal)
            health = Health(readiness.code)
            gateway = Gateway(services, snapshot, health, pages_of(settings))
            listener = Listener(gateway, snapshot.settings.timeouts)
            acceptor = acceptor_of(snapshot.settings, listener, close)
            history = await begin_history(loaded, services)
            turn = asyncio.Lock()
            tenancy = Tenancy(services, gateway, turn, book.kept)
            reloads = Reloads(reload, loaded, services, gateway, acceptor, turn, history)
            metrics, metrics_address, admin = await open_side(
                gateway,
                services,
                health,
                readiness,
                tenancy.change,
                reloads.reload,
                close,
                member,
            )
            if services.sharing is not None:
                following = Following(services.sharing, services, gateway, tenancy)
                if book.silent_s is not None:
                    late = LateLedger(services, lambda: gateway.snapshot, tenancy)
                    following.begin_late(book.silent_s, late.catch_up)
                tasks.spawn(following.run(), "following of other processes")
            tasks.spawn(adopting.run(lambda: gateway.snapshot), "adoption of others")
            keep_whole(services, lambda: gateway.snapshot, tasks)
            tasks.spawn(_watch(services, listener, readiness, clock), "watch")
            notifier = _tell_operators(services, gateway, tasks, close)
            data, *more = await open_data(snapshot.settings, acceptor, member)
            addresses = Addresses(data, metrics_address, admin, tuple(more))
            front = Front(gateway, listener, acceptor, metrics, addresses)
            readiness.serve()
            _tune()
            return cls(services, front, reloads, readiness, notifier, tasks, stop, close.pop_all())

    @property
    def addresses(self) -> Addresses:
        return self.front.addresses

    @property
    def snapshot(self) -> Snapshot:
        """The config in effect, compiled."""
        return self.front.gateway.snapshot

    @property
    def open_exchanges(self) -> int:
        """Journal entries opened and neither closed nor voided."""
        return self.services.journal.open_count

    def handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop, True)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.spawn(self.reload(), "reload"))

    def leave_with(self, member: Member) -> None:
        """Tell the parent that this process serves, and stop when the parent is gone."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(member.parent_fd)
            self.stop()

        loop.add_reader(member.parent_fd, gone)
        member.tell_ready()

    def stop(self, by_hand: bool = False) -> None:
        """Begins the drain; called again, cuts it short."""
        self._stop.ask(by_hand)

    async def stop_asked(self) -> None:
        """Returns once `stop` was called, or a part failed."""
        await self._stop.asked.wait()

    async def reload(self) -> None:
        """Takes the whole new config, or keeps the old one. Running exchanges keep theirs."""
        with contextlib.suppress(ProxyError):  # the log has told it
            await self._reloads.reload()

    async def drain(self) -> None:
        """Stops taking work, waits for what runs, and books what does not end in time."""
        drain = self.snapshot.settings.drain
        delay_s = 0.0 if self._stop.by_hand else drain.delay_s
        LOG.info(
            "stopping: not ready for %g s, then at most %g s for running requests;"
            " a second signal stops at once",
            delay_s,
            drain.timeout_s,
        )
        services = self.services
        self._readiness.drain()
        if delay_s:
            last_s = min(LAST_REQUESTS_S, delay_s / 2)
            self.front.listener.keep_none()
            await self._stop.pause(delay_s - last_s)
            self.front.acceptor.take_waiting()
            self.front.acceptor.close()
            await self._stop.pause(last_s)
        services.stop_taking()
        self.front.acceptor.close()
        self.front.listener.leave()
        deadline_s = monotonic() + drain.timeout_s
        while (
            services.arriving.count + services.inflight.count
            and monotonic() < deadline_s
            and not self._stop.in_a_hurry
        ):
            await self._stop.pause(0.05)
        cut = list(services.exchanges)
        for exchange in cut:
            exchange.end_now()
        if cut:
            LOG.warning(
                "running requests cut at the drain's end and booked as interrupted: %d", len(cut)
            )
        self.front.listener.cut()

    async def aclose(self) -> None:
        """Books what can be booked in a few seconds and closes everything."""
        self.front.acceptor.close()
        booked, _ = await asyncio.gather(
            self.services.recorder.drain(BOOK_AT_STOP_S), self._notifier.flush(TELL_AT_STOP_S)
        )
        await self._tasks.cancel()
        sharing = self.services.sharing
        if sharing is not None and booked:  # else it is silent, and has something to come back for
            with contextlib.suppress(LedgerError, LedgerUnavailable):
                await sharing.leave()
        await self._close.aclose()


def _tune() -> None:
    """What the start made stays: it is looked through no more for what can be freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _tell_operators(
    services: Services, gateway: Gateway, tasks: Tasks, close: contextlib.AsyncExitStack
) -> Notifier:
    """Starts what tells of limits and faults: in the log and the counts, by webhook and mail."""
    notifier = Notifier(services.ledger, lambda: gateway.snapshot.settings, services.now_ms)
    close.push_async_callback(notifier.aclose)
    services.metrics.also(notifier.collect)
    notices = NoticeWatch(services, lambda: gateway.snapshot, notifier)
    tasks.spawn(notifier.run(), "notifier")
    tasks.spawn(notices.run(), "notices' watch")
    tasks.spawn(tell_limits(services, notices.crossed), "limits' watch")
    return notifier


async def _watch(
    services: Services, listener: Listener, readiness: Readiness, clock: SteadyClock
) -> None:
    """Once a second: ends what takes too long, and tells what an operator should know."""
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        now_s = monotonic()
        listener.sweep(now_s)
        readiness.tell()
        for exchange in list(services.exchanges):
            exchange.watch(now_s)
        step_ms = clock.take_step()
        if step_ms is not None:
            LOG.warning(
                "the system's clock was set back by %d s; records and limits go by the new time",
                -step_ms // 1000,
            )
        await services.pools.sweep(now_s)
