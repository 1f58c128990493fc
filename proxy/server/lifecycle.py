"""The composition root: makes every part, opens the listeners, runs until told to stop, and stops
in order.

Start: ledger (locks the data directory) → journal → recovery of what a crash left → metrics, admin
→ the data listener. Stop: not ready, wait for load balancers,
no new connections, wait for running requests, end what is left and book it, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from typing import Literal

import aiohttp.http_parser
import msgspec

from proxy.accounting.adoption import adopt_others
from proxy.admin.app import AdminPlane
from proxy.admin.routes import admin_routes
from proxy.config.loader import Loaded
from proxy.config.price_tables import TableError
from proxy.config.settings import Settings, addresses_of, host_port
from proxy.core.clock import SteadyClock
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.http.health import Health
from proxy.dataplane.counting.vocabulary import Vocabularies
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.listener import Listener
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import JournalUnavailable
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.listeners.acceptor import Acceptor
from proxy.listeners.addresses import shown
from proxy.listeners.descriptors import connections_max, limit
from proxy.metrics.server import MetricsListener
from proxy.quota import QuotaError
from proxy.quota.watch import tell_limits
from proxy.server.failpoints import Failpoints
from proxy.server.reload import Reloads, count_limits, served_models
from proxy.server.startup import assemble, journal_options, observe

LOG = logging.getLogger("tollkeeper.server")

WATCH_INTERVAL_S = 1.0  # resolution of all the long timeouts
# how long a stop waits for the ledger; what is not booked by then is booked at the next start
BOOK_AT_STOP_S = 10.0
# how long the ledger may take to book what a process that is gone left in a journal of its own;
# else at the next start
ADOPT_S = 60.0
BOOK_AT_START_S = 2.0  # how long a start waits for that, and for what is left in its own
GC_THRESHOLDS = (
    20_000,
    50,
    100,
)  # the defaults collect every few requests; hardly anything here forms cycles


class StartError(Exception):
    """The process cannot start; the message says why and what to do."""


class Addresses(msgspec.Struct, frozen=True):
    """Where the process listens, once it does."""

    data: str
    metrics: str
    admin: str = ""  # on TCP, if a token is configured; the control socket is in the data directory
    more: tuple[str, ...] = ()  # beside `data`, where `listen` is a list


async def serve(
    loaded: Loaded,
    *,
    ready: Callable[[Addresses], None] | None = None,
    reload: Callable[[], Loaded] | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Runs the proxy until SIGTERM or SIGINT; a second one cuts the drain short. SIGHUP calls
    `reload`. Raises StartError."""
    if not hasattr(aiohttp.http_parser, "HttpRequestParserC"):
        raise StartError(
            "aiohttp lacks its C extension, whose parser this proxy relies on. Install a wheel of aiohttp for this platform."
        )
    try:
        spec = (environ or {}).get("TOLLKEEPER_FAILPOINTS")
        fail: FaultPoint = Failpoints(spec) if spec else no_fault
    except ValueError as error:
        raise StartError(
            f"TOLLKEEPER_FAILPOINTS: {error}. Correct it; outside of fault tests, leave it unset."
        ) from error
    server = Server(loaded, fail, reload)
    try:
        await server.start()
        server.handle_signals()
        if ready is not None:
            ready(server.addresses)
        await server.stopping.wait()
        await server.drain()
    finally:
        await server.aclose()


class Server:
    """The running process: `start`, then `stopping`, `drain`, `aclose`."""

    def __init__(
        self,
        loaded: Loaded,
        fail: FaultPoint = no_fault,
        reload: Callable[[], Loaded] | None = None,
        vocabularies: Vocabularies | None = None,
    ) -> None:
        self._vocabularies = Vocabularies() if vocabularies is None else vocabularies
        self._clock = SteadyClock()
        self._loaded = loaded
        self._fail = fail
        self._read = reload
        self._tasks: set[asyncio.Task[object]] = set()
        self._close = contextlib.AsyncExitStack()
        self._acceptor: Acceptor | None = None
        self.stopping = asyncio.Event()
        self._by_hand = False
        self._hurry = asyncio.Event()
        self._phase: Literal["starting", "draining"] | None = "starting"  # None: it serves
        self._told_unready: str | None = None
        self.addresses = Addresses("", "")

    @property
    def services(self) -> Services:
        """What the exchanges share; there after `start`."""
        return self._services

    @property
    def snapshot(self) -> Snapshot:
        """The config in effect, compiled; there after `start`."""
        return self._snapshot

    @property
    def listener(self) -> Listener:
        """The clients' connections; there after `start`."""
        return self._listener

    @property
    def open_exchanges(self) -> int:
        """Journal entries opened and neither closed nor voided."""
        return self._services.journal.open_count

    async def start(self) -> None:
        """The data listener comes last, so that a start that fails has served nobody. Raises
        StartError."""
        settings = self._loaded.settings
        _make_private(settings.data_dir)
        try:
            self._snapshot = Snapshot(settings)  # first: what is recovered is priced
        except (OSError, TableError) as error:  # a file that is gone since the config was checked
            raise StartError(f"upstreams: {error}. Check the files that they name.") from error
        try:
            services = self._services = await assemble(
                self._snapshot,
                self._close,
                fail=self._fail,
                vocabularies=self._vocabularies,
                clock=self._clock,
            )
        except (LedgerError, LedgerUnavailable, QuotaError) as error:
            raise StartError(str(error)) from error
        except (JournalUnavailable, OSError) as error:
            raise StartError(
                f"data_dir: {error}. Free space or mend the disk, then start again; what the journal holds stays."
            ) from error
        self._spawn(services.journal.run(), "journal")
        self._spawn(services.recorder.run(), "recorder")
        self._spawn(services.counter.run(), "counter")
        await self._book_what_was_left()
        try:
            await count_limits(services, self._snapshot)
            services.served = await asyncio.to_thread(
                served_models, self._snapshot, services.reader
            )
        except (LedgerError, LedgerUnavailable) as error:
            raise StartError(f"the limits cannot be counted: {error}") from error
        await self._start_listeners(settings)
        self._phase = None
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def _book_what_was_left(self) -> None:
        """By processes that are gone, in this journal and in others: limits count what is in the
        book. A ledger that is slow about it keeps nobody from serving."""
        services, settings = self._services, self._snapshot.settings
        adoption = adopt_others(
            settings.data_dir / "journal",
            journal_options(settings),
            services.ledger,
            services.metrics,
            self._snapshot.prices,
            timeout_s=ADOPT_S,
        )
        adopted = self._spawn(adoption, "adoption")
        booked = await services.recorder.drain(BOOK_AT_START_S)
        await asyncio.wait({adopted}, timeout=BOOK_AT_START_S)
        if not booked or not adopted.done():
            LOG.warning(
                "the ledger is slow: what it has not booked yet of earlier requests, limits will count from the next start on"
            )

    async def _start_listeners(self, settings: Settings) -> None:
        self._describe(settings)
        health = Health(self._unready_code)
        self._gateway = Gateway(self._services, self._snapshot, health)
        self._reloads = Reloads(self._read, self._loaded, self._snapshot, self._services, self._put)
        self._listener = Listener(self._gateway, settings.timeouts)
        prepare = observe(self._services, settings, lambda: self._snapshot)
        self._metrics_listener = MetricsListener(
            self._services.metrics,
            health,
            prepare,
            hosts=settings.metrics.hosts,
            header_s=settings.timeouts.header_s,
        )
        self._close.push_async_callback(self._metrics_listener.aclose)
        host, port = host_port(settings.metrics.listen)
        try:
            metrics_address = await self._metrics_listener.start(host, port)
        except OSError as error:
            raise StartError(
                f"metrics.listen: {settings.metrics.listen} cannot be opened: {error.strerror or error}. Choose another address (with --upstream: --metrics-listen)."
            ) from error
        plane = AdminPlane(
            admin_routes(self._services, lambda: self._snapshot, self._why_not_ready),
            health,
            header_s=settings.timeouts.header_s,
        )
        self._close.push_async_callback(plane.aclose)
        try:
            admin_address = await plane.start(
                settings, lambda: self._snapshot.settings.admin.tokens
            )
        except OSError as error:
            raise StartError(
                f"admin.listen: {settings.admin.listen} cannot be opened: {error.strerror or error}. Choose another address."
            ) from error
        self._spawn(self._watch(), "watch")
        self._spawn(tell_limits(self._services), "limits' watch")
        self._acceptor = Acceptor(
            self._listener,
            self._listener.waits,
            self._listener.waits_for_body,
            most=_clients_max(settings),
            name="connections_max",
        )
        taken: list[str] = []
        for listen in addresses_of(settings):
            try:
                taken.append(shown(await self._acceptor.listen(*host_port(listen))))
            except OSError as error:
                raise StartError(
                    f"listen: {listen} cannot be opened: {error.strerror or error}. Choose another address (with --upstream: --listen), or stop what uses it."
                ) from error
        first, *others = taken
        self.addresses = Addresses(first, metrics_address, admin_address, tuple(others))

    def handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop, True)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload(), "reload"))

    def stop(self, by_hand: bool = False) -> None:
        """Begins the drain; called again, ends it. `by_hand` (Ctrl-C) there is no load balancer to
        wait for."""
        if self.stopping.is_set():
            self._hurry.set()
        self._by_hand = by_hand
        self.stopping.set()

    async def reload(self) -> None:
        """The whole new config or the whole old one; see `Reloads`. Running exchanges keep
        theirs."""
        await self._reloads.reload()

    def _put(self, snapshot: Snapshot) -> None:
        """This config is in effect from now on."""
        self._services.pools.use(snapshot.upstreams.values())
        self._snapshot = self._gateway.snapshot = snapshot
        if self._acceptor is not None:
            self._acceptor.most = _clients_max(snapshot.settings)
        self._describe(snapshot.settings)

    async def drain(self) -> None:
        """Stops taking work, waits for what runs, and books what does not end in time."""
        drain = self._snapshot.settings.drain
        delay_s = 0.0 if self._by_hand else drain.delay_s
        LOG.info(
            "stopping: not ready for %g s, then at most %g s for running requests; a second signal stops at once",
            delay_s,
            drain.timeout_s,
        )
        self._phase = "draining"
        await self._sleep(delay_s)
        self._services.draining = True
        if self._acceptor is not None:
            self._acceptor.close()
        self._listener.leave()
        deadline_s = monotonic() + drain.timeout_s
        while (
            self._services.arriving + self._services.inflight
            and monotonic() < deadline_s
            and not self._hurry.is_set()
        ):
            await self._sleep(0.05)
        left = list(self._services.exchanges)
        for exchange in left:
            exchange.end_now()
        if left:
            LOG.warning(
                "running requests cut at the drain's end and booked as interrupted: %d", len(left)
            )
        self._listener.cut()

    async def aclose(self) -> None:
        """Books what can be booked in a few seconds and closes everything. Safe after a start that
        failed half-way."""
        if self._acceptor is not None:
            self._acceptor.close()
        if hasattr(self, "_services"):
            await self._services.recorder.drain(BOOK_AT_STOP_S)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close.aclose()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _spawn(self, work: Coroutine[None, None, object], name: str) -> asyncio.Task[object]:
        """A part that runs for the process's life; if it ever fails, the process stops rather than
        run on without it."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._part_ended)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _part_ended(self, task: asyncio.Task[object]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.critical("the %s failed; the process stops", task.get_name(), exc_info=error)
            self.stop()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            now_s = monotonic()
            self._listener.sweep(now_s)
            self._tell_unready()
            for exchange in list(self._services.exchanges):
                exchange.watch(now_s)
            step_ms = self._clock.take_step()
            if step_ms is not None:
                LOG.warning(
                    "the system's clock was set back by %d s; records and limits go by the new time",
                    -step_ms // 1000,
                )
            await self._services.pools.sweep(now_s)

    def _unready_code(self) -> str | None:
        """As an error code of the API, for whoever asks /readyz; the admin API has the reason in
        words."""
        if self._phase is not None:
            return self._phase
        return None if self._services.journal.ready else "journal_unavailable"

    def _why_not_ready(self) -> str | None:
        if self._phase is not None:
            return {"starting": "the process is starting", "draining": "the process is stopping"}[
                self._phase
            ]
        return self._services.journal.why_not_ready

    def _tell_unready(self) -> None:
        """One line in the log when the journal becomes unable to take entries, and one when it can
        again."""
        reason = self._services.journal.why_not_ready
        if reason != self._told_unready:
            if reason is None:
                LOG.warning("ready again: the journal can be written")
            else:
                LOG.error("not ready, requests are refused: %s", reason)
            self._told_unready = reason

    def _describe(self, settings: Settings) -> None:
        """Tells the metrics what the config names."""
        models = [route.model for route in settings.routes] + [
            price.model for price in settings.prices
        ]
        self._services.metrics.configured(models, self._services.keys.expiries_ms())


def _clients_max(settings: Settings) -> int:
    return connections_max(limit(), settings.inflight_max, settings.connections_max)


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(
            f"data_dir: {directory} cannot be made: {error.strerror or error}. Choose a directory this user may write."
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StartError(
            f"data_dir: {directory} cannot be written by this user. Choose another or change its owner."
        )
