"""Makes the parts that all exchanges share, in order.

Ledger (locks the data directory) → journal → recovery of what a crash left → counter → quota → use
of the limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import msgspec

from proxy import __version__
from proxy.accounting.belonging import check_belongs
from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.admin.app import AdminPages
from proxy.admin.endpoint import AdminEndpoint
from proxy.config.price_tables import TableError
from proxy.config.settings import Settings
from proxy.core.clock import SteadyClock
from proxy.core.fault_points import FaultPoint
from proxy.core.http.via import Via
from proxy.core.limits.limit import Enforce
from proxy.core.pricing.served_models import ServedModels
from proxy.dataplane.counting.calibration import FILE as CALIBRATION_FILE
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.vocabulary import Vocabularies
from proxy.dataplane.endpoints.usage import OwnUsage
from proxy.dataplane.gateway import Pages
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.pools import Pools
from proxy.journal import Journal, JournalOptions, JournalUnavailable, doubt
from proxy.ledger import LedgerError, LedgerUnavailable, connect_reader
from proxy.ledger.sharing import connect_sharing
from proxy.metrics.book_head import BookHead
from proxy.metrics.collector import Metrics
from proxy.metrics.instances import InstanceStates
from proxy.metrics.spend import Spend
from proxy.quota import Quota, QuotaError, SharedOptions
from proxy.quota import connect as connect_quota
from proxy.quota.uncounted import UncountedQuota
from proxy.quota.watch import show_limits
from proxy.server.adopting import Adopting
from proxy.server.opened_book import OpenedBook, open_book
from proxy.server.past_use import (
    book_what_was_left,
    count_limits,
    know_kept_answers,
    owners,
    served_models,
    settle_what_was_held,
)
from proxy.server.shared_counts import standing, start_counting
from proxy.server.tasks import Tasks
from proxy.tenants.directory import Directory

LOG = logging.getLogger("tollkeeper.server")


class StartError(Exception):
    """The process cannot start; the message says why and what to do."""


def compiled(settings: Settings) -> Snapshot:
    """The config, and a data directory for it. Raises StartError."""
    _make_private(settings.data_dir)
    if settings.journal.adopt:
        _check_locks(settings)
    try:
        return Snapshot(settings)
    except (OSError, TableError) as error:  # a file that is gone since the config was checked
        raise StartError(f"upstreams: {error}. Check the files that they name.") from error


async def opened(
    snapshot: Snapshot,
    close: contextlib.AsyncExitStack,
    *,
    fail: FaultPoint,
    vocabularies: Vocabularies,
    clock: SteadyClock,
) -> tuple[Services, OpenedBook]:
    """All shared parts, as `assemble` makes them. Raises StartError."""
    try:
        return await assemble(snapshot, close, fail=fail, vocabularies=vocabularies, clock=clock)
    except (LedgerError, LedgerUnavailable, QuotaError) as error:
        raise StartError(str(error)) from error
    except (JournalUnavailable, OSError) as error:
        raise StartError(
            f"data_dir: {error}. Free space or mend the disk, then start again;"
            " what the journal holds stays."
        ) from error


async def count_what_was_used(
    services: Services,
    snapshot: Snapshot,
    tasks: Tasks,
    kept: Collection[str] = (),
    *,
    is_there: bool = True,
) -> Adopting:
    """Books earlier requests, then counts the limits. Raises StartError.

    `kept`: journals of processes that book their own. Not `is_there`: the ledger is away, and
    `LateLedger` counts when it is back. Returns what books the journals of others later.
    """
    started_ms = services.now_ms()
    adopting = Adopting(services, lambda: snapshot, journal_options(snapshot.settings), kept)
    if not is_there:
        tasks.spawn(adopting.at_start(), "adoption")
        tasks.spawn(settle_what_was_held(services, started_ms), "holds")
        return adopting
    await book_what_was_left(services, adopting, tasks)
    shared = services.quota.shared
    try:
        if shared is not None:
            await start_counting(shared, services, snapshot, services.quota)
        else:
            await count_limits(services, snapshot)
        served = await asyncio.to_thread(served_models, snapshot, services.reader)
        await know_kept_answers(services)
        services.know(served, await asyncio.to_thread(owners, services.reader))
    except (LedgerError, LedgerUnavailable) as error:
        raise StartError(f"the limits cannot be counted: {error}") from error
    tasks.spawn(settle_what_was_held(services, started_ms), "holds")
    return adopting


async def assemble(
    snapshot: Snapshot,
    close: contextlib.AsyncExitStack,
    *,
    fail: FaultPoint,
    vocabularies: Vocabularies,
    clock: SteadyClock,
) -> tuple[Services, OpenedBook]:
    """All shared parts, and the book; each that must be closed is pushed on `close`.

    Raises the errors of ledger, journal and quota when they cannot be opened.
    """
    settings = snapshot.settings
    key_file = settings.data_dir / settings.ledger.key_file
    book = await open_book(settings, close, fail)
    metrics = Metrics(settings.metrics, __version__)
    sharing = connect_sharing(settings.ledger.url)
    root, name = settings.data_dir / "journal", instance_of(settings, sharing is not None)
    journal = Journal.claim(root, journal_options(settings), fail, name=name)
    close.push_async_callback(journal.aclose)
    if sharing is not None:
        close.push_async_callback(sharing.aclose)
        if book.is_there:
            await sharing.arrive(journal.writer, identity(settings.data_dir, journal.writer))
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    if book.is_there:
        await check_belongs(root / journal.writer, book.ledger, reader)
    end_users = EndUsers(settings.privacy.end_user, key_file.read_bytes(), book.salts)
    recorder = Recorder(journal, book.ledger, metrics, end_users, snapshot.prices, fail=fail)
    recorder.price_terms(snapshot.prices.version, snapshot.prices.terms())
    if book.is_there:
        await recorder.recover()
    else:
        recorder.begin()
    counter = TokenCounter(vocabularies, Calibration(settings.data_dir / CALIBRATION_FILE))
    close.push_async_callback(counter.aclose)
    pools = Pools()
    pools.use(snapshot.upstreams.values())
    close.push_async_callback(pools.aclose)
    if settings.estimates == "counted":
        await counter.preload()
    quota = await connect_quota(
        settings.quota.url,
        ZoneInfo(settings.timezone),
        values_max=settings.quota.values_max,
        options=shared_options(settings, journal, recorder),
    )
    close.push_async_callback(quota.aclose)
    if not book.is_there:
        quota = uncounted(quota, settings)
    services = Services(
        ledger=book.ledger,
        reader=reader,
        journal=journal,
        recorder=recorder,
        counter=counter,
        quota=quota,
        directory=Directory(settings, book.rows),
        pools=pools,
        served=ServedModels(snapshot.prices),
        metrics=metrics,
        end_users=end_users,
        now_ms=lambda: clock.at(time.time_ns() // 1_000_000),
        via=Via(f"tollkeeper-{secrets.token_hex(8)}"),
        fail=fail,
        sharing=sharing,
        sync_always=settings.journal.sync == "always",
    )
    close.callback(services.large_bodies.close)
    return services, book


def pages_of(settings: Settings) -> Callable[[Services, OwnUsage], Pages] | None:
    """What makes the pages in a browser; None where they are off.

    They are imported by their name: a tenth of a second that no other process spends.
    """
    if not settings.pages.team:
        return None
    key = (settings.data_dir / settings.ledger.key_file).read_bytes()
    module = import_module("proxy.dataplane.pages.team_pages")

    def made(services: Services, own_usage: OwnUsage) -> Pages:
        pages: Pages = module.TeamPages(services, own_usage, key)
        return pages

    return made


def admin_pages_of(
    settings: Settings,
) -> Callable[[Services, Callable[[], Snapshot], Sequence[AdminEndpoint]], AdminPages] | None:
    """What makes the pages of administrators; None where they are off. See `pages_of`."""
    if not settings.pages.admin:
        return None
    key = (settings.data_dir / settings.ledger.key_file).read_bytes()
    module = import_module("proxy.admin.pages.admin_pages")

    def made(
        services: Services, snapshot: Callable[[], Snapshot], routes: Sequence[AdminEndpoint]
    ) -> AdminPages:
        pages: AdminPages = module.BrowserPages(services, snapshot, routes, key)
        return pages

    return made


def shared_options(settings: Settings, journal: Journal, recorder: Recorder) -> SharedOptions:
    """How this process uses a quota that others share."""
    quota = settings.quota
    if quota.url == "memory:":
        return SharedOptions()
    return SharedOptions(
        instance=identity(settings.data_dir, journal.writer),
        journal=journal.writer,
        position=lambda: journal.position if recorder.recovered.is_set() else None,
        timeout_s=quota.timeout_s,
        counted=_counted(settings),
        outage_max_s=quota.outage_max_s,
    )


def uncounted(quota: Quota, settings: Settings) -> Quota:
    """The quota of a process that started while the ledger was away."""
    given = settings.quota
    options = SharedOptions(counted=_counted(settings), outage_max_s=given.outage_max_s)
    # What it does not say itself is the store's.
    return cast(Quota, UncountedQuota(quota, options, is_shared=given.url != "memory:"))


def _counted(settings: Settings) -> frozenset[Enforce]:
    """The modes of limits under which requests pass without a count."""
    asked = settings.quota.on_outage
    return frozenset(mode for mode in Enforce if getattr(asked, mode.value) == "count")


def instance_of(settings: Settings, is_shared: bool) -> str | None:
    """The name of this process among those that share a ledger; None: it needs none."""
    if settings.instance is not None or not is_shared:
        return settings.instance
    return re.sub(r"[^\w.@-]", "-", socket.gethostname())[:64].strip(".-") or "tollkeeper"


def identity(data_dir: Path, writer: str) -> str:
    """What no other process has, and this one has again after a restart on its data directory."""
    path = data_dir / f"quota-{writer}.id"
    known = path.read_text().strip() if path.exists() else ""
    if not known:
        known = secrets.token_hex(8)
        path.write_text(known)
    return known


def journal_options(settings: Settings) -> JournalOptions:
    given = msgspec.structs.asdict(settings.journal)
    return JournalOptions(**{name: given[name] for name in JournalOptions.__struct_fields__})


def observe(
    services: Services, settings: Settings, snapshot: Callable[[], Snapshot]
) -> Callable[[], Awaitable[None]]:
    """Lets the metrics read the counts of other parts.

    Returns what the event loop does before each page, for figures that the page's thread cannot
    read.
    """
    journal, recorder, metrics = services.journal, services.recorder, services.metrics
    metrics.watch("journal_bytes", lambda: journal.bytes_on_disk)
    metrics.watch("journal_open_exchanges", lambda: journal.open_count)
    metrics.watch("journal_failures_total", lambda: journal.failures + journal.sync_failures)
    metrics.watch("ledger_lag_seconds", lambda: recorder.lag_s)
    metrics.watch("ledger_backlog_records", lambda: recorder.backlog)
    metrics.watch("ledger_failures_total", lambda: recorder.failures)
    metrics.watch("quota_failures_total", lambda: services.quota.failures)
    metrics.watch("quota_epochs_total", lambda: standing(services.quota).epochs)
    metrics.watch("quota_build_seconds", lambda: standing(services.quota).took_s)
    metrics.watch("quota_partial_seconds", lambda: standing(services.quota).partial_s)
    metrics.watch("quota_waiting", lambda: len(standing(services.quota).waiting))
    metrics.watch("keys_silent_seconds", lambda: services.silent_s)
    metrics.watch("keys_version", lambda: services.keys_versions[0])
    metrics.watch("keys_version_ledger", lambda: services.keys_versions[1])
    metrics.watch("lapsed_holds", lambda: services.quota.silent.count)
    metrics.watch("lapsed_holds_age_seconds", lambda: services.quota.silent.oldest_ms / 1000)
    metrics.watch("prices_updated_timestamp_seconds", lambda: snapshot().prices_updated_s)
    metrics.watch("data_dir_free_bytes", lambda: shutil.disk_usage(settings.data_dir).free)
    metrics.watch_key_expiries(lambda: services.keys.expiries_ms())
    metrics.watch_models("estimate_error_ratio", services.counter.calibration.errors)
    metrics.watch_histogram("journal_write_seconds", journal.write_seconds)
    periods = Spend(
        services.reader,
        lambda: snapshot().zone,
        services.now_ms,
        settings.metrics.max_series,
    )
    metrics.also(periods.collect)
    head = BookHead(services.reader)
    metrics.watch("ledger_head_seq", lambda: head.seq)
    metrics.watch("ledger_head_hash", lambda: head.hash)

    states = InstanceStates(services.sharing)
    metrics.also(states.collect)

    async def prepare() -> None:
        await asyncio.gather(
            periods.refresh(), head.refresh(), states.refresh(), show_limits(services)
        )

    return prepare


def _check_locks(settings: Settings) -> None:
    """Journals are taken over by their locks. Raises StartError where these do not hold."""
    found = doubt(settings.data_dir)
    if found is None:
        return
    if found.is_sure:
        raise StartError(
            f"journal.adopt: {found.why}: two processes could write one journal. Mount data_dir"
            " with locks that hold over hosts (NFS 4 with local_lock=none), or leave this off"
        )
    LOG.warning("journal.adopt: %s; make sure of it, or leave this off", found.why)


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(
            f"data_dir: {directory} cannot be made: {error.strerror or error}."
            " Choose a directory this user may write."
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StartError(
            f"data_dir: {directory} cannot be written by this user."
            " Choose another or change its owner."
        )
