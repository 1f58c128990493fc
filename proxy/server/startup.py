"""Makes the parts that all exchanges share, in order: ledger (locks the data directory) → journal →
recovery of what a crash left → counter → quota."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

import msgspec

from proxy import __version__
from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.config.settings import Settings
from proxy.core.clock import SteadyClock
from proxy.core.fault_points import FaultPoint
from proxy.core.http.via import Via
from proxy.core.pricing.served_models import ServedModels
from proxy.dataplane.counting.calibration import FILE as CALIBRATION_FILE
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.vocabulary import Vocabularies
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.pools import Pools
from proxy.journal import Journal, JournalOptions
from proxy.ledger import connect, connect_reader
from proxy.metrics.collector import Metrics
from proxy.metrics.spend import Spend
from proxy.quota import connect as connect_quota
from proxy.quota.watch import show_limits
from proxy.tenants.ring import KeyRing


async def assemble(
    snapshot: Snapshot,
    close: contextlib.AsyncExitStack,
    *,
    fail: FaultPoint,
    vocabularies: Vocabularies,
    clock: SteadyClock,
) -> Services:
    """All shared parts; what is to be closed is pushed on `close`. Raises what ledger, journal and
    quota raise when they cannot be opened."""
    settings = snapshot.settings
    key_file = settings.data_dir / settings.ledger.key_file
    ledger = await connect(settings.ledger.url, settings.data_dir, key_file, fail=fail)
    close.push_async_callback(ledger.aclose)
    metrics = Metrics(settings.metrics, __version__)
    journal = Journal.claim(settings.data_dir / "journal", journal_options(settings), fail)
    close.push_async_callback(journal.aclose)
    end_users = EndUsers(settings.privacy.end_user, key_file.read_bytes(), await ledger.salts())
    recorder = Recorder(journal, ledger, metrics, end_users, snapshot.prices, fail=fail)
    recorder.price_terms(snapshot.prices.version, snapshot.prices.terms())
    await recorder.recover()
    counter = TokenCounter(vocabularies, Calibration(settings.data_dir / CALIBRATION_FILE))
    close.push_async_callback(counter.aclose)
    pools = Pools()
    pools.use(snapshot.upstreams.values())
    close.push_async_callback(pools.aclose)
    if settings.estimates == "counted":
        await counter.preload()
    return Services(
        ledger=ledger,
        reader=connect_reader(settings.ledger.url, settings.data_dir),
        journal=journal,
        recorder=recorder,
        counter=counter,
        quota=await connect_quota(settings.quota.url, ZoneInfo(settings.timezone)),
        keys=KeyRing(settings),
        pools=pools,
        served=ServedModels(snapshot.prices),
        metrics=metrics,
        end_users=end_users,
        now_ms=lambda: clock.at(time.time_ns() // 1_000_000),
        via=Via(f"tollkeeper-{secrets.token_hex(8)}"),
        fail=fail,
        sync_always=settings.journal.sync == "always",
    )


def journal_options(settings: Settings) -> JournalOptions:
    return JournalOptions(**msgspec.structs.asdict(settings.journal))


def observe(
    services: Services, settings: Settings, snapshot: Callable[[], Snapshot]
) -> Callable[[], Awaitable[None]]:
    """Lets the metrics read what other parts count. Returns what is to be done before each page:
    bring in what its thread cannot look at."""
    journal, recorder, metrics = services.journal, services.recorder, services.metrics
    metrics.watch("journal_bytes", lambda: journal.bytes_on_disk)
    metrics.watch("journal_open_exchanges", lambda: journal.open_count)
    metrics.watch("journal_failures_total", lambda: journal.failures + journal.sync_failures)
    metrics.watch("ledger_lag_seconds", lambda: recorder.lag_s)
    metrics.watch("ledger_backlog_records", lambda: recorder.backlog)
    metrics.watch("ledger_failures_total", lambda: recorder.failures)
    metrics.watch("prices_updated_timestamp_seconds", lambda: snapshot().prices_updated_s)
    metrics.watch("data_dir_free_bytes", lambda: shutil.disk_usage(settings.data_dir).free)
    metrics.watch_models("estimate_error_ratio", services.counter.calibration.errors)
    metrics.watch_histogram("journal_write_seconds", journal.write_seconds)
    periods = Spend(
        services.reader,
        lambda: snapshot().zone,
        services.now_ms,
        settings.metrics.max_series,
    )
    metrics.also(periods.collect)

    async def prepare() -> None:
        await periods.refresh()
        await show_limits(services)

    return prepare
