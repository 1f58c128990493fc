"""From two journals to one PostgreSQL that is killed, paused and stopped meanwhile: once each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.config.price_terms import price_book_of
from proxy.config.settings import MetricsSettings, Settings
from proxy.core.entries import Opened
from proxy.journal import Journal
from proxy.ledger.postgresql import connect
from proxy.metrics.collector import Metrics
from tests.ledger.postgresql.books import books, key_file
from tests.ledger.postgresql.disturbances import disturbed
from tests.ledger.postgresql.test_booking import whole_chains
from tests.ledger.samples import START_MS, make_id, make_record
from tests.support.journals import journal_options
from tests.support.postgres import PostgresServer, postgres, programs
from tests.support.waiting import GUARD_S, guard, until

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
pytestmark = pytest.mark.whole  # a server of its own


class Instance:
    """The parts of one process between an ended exchange and the book."""

    def __init__(self, journal: Journal, recorder: Recorder, number: int) -> None:
        self.journal = journal
        self.recorder = recorder
        self.end_users = recorder._end_users
        self.closed = 0
        self._number = number

    def end_some(self) -> None:
        """Two exchanges that are opened, end and are closed; and one that is refused."""
        for _ in range(2):
            n = self._number * 2**32 + self.closed
            self.journal.open(
                Opened(
                    id=make_id(n),
                    started_at_ms=START_MS,
                    key_id="alice",
                    team="research",
                    endpoint="/v1/chat/completions",
                    upstream="modelmax",
                    model_requested="deepseek-v3.2",
                    input_estimate=40,
                )
            )
            record = make_record(
                n,
                started_at_ms=START_MS + self.closed * 500,
                key_id=f"k{n % 5}",
                end_user=self.end_users.hash(f"user {n}"),
            )
            self.journal.close(record)
            self.recorder.wake(record)
            self.closed += 1
        self.recorder.refused("alice", "rate_limit_exceeded", START_MS)


@asynccontextmanager
async def running(url: str, directory: Path, number: int) -> AsyncIterator[Instance]:
    ledger = await connect(url, directory, key_file(directory))
    journal = Journal.claim(directory / "journal", journal_options())
    recorder = Recorder(
        journal,
        ledger,
        Metrics(MetricsSettings(), "1"),
        EndUsers("hash", b"k", await ledger.salts()),
        price_book_of(Settings()),
        now_ms=lambda: START_MS + 60_000,
    )
    await recorder.recover()
    tasks = [asyncio.create_task(journal.run()), asyncio.create_task(recorder.run())]
    try:
        recorder.price_terms("v1", b"terms")
        yield Instance(journal, recorder, number)
        assert await recorder.drain(GUARD_S)
    finally:
        tasks[1].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[1]
        await journal.aclose()
        await tasks[0]
        await ledger.aclose()


async def outage(directory: Path, faults: Callable[[PostgresServer], Awaitable[None]]) -> int:
    """Two instances at work while the faults happen; returns how many closes they made."""
    server = PostgresServer(programs())
    try:
        async with AsyncExitStack() as stack:
            several = [
                await stack.enter_async_context(running(server.url(), directory, number))
                for number in range(2)
            ]

            async def work() -> None:
                while True:
                    for one in several:
                        one.end_some()
                    await asyncio.sleep(0.01)

            working = asyncio.create_task(work())
            await until(lambda: min(one.closed for one in several) > 50)
            await faults(server)
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            closed = [one.closed for one in several]
        with books(server.url()) as book:
            assert whole_chains(book) == sum(closed)
            assert book.rows("SELECT chain, count(DISTINCT id) FROM records GROUP BY 1") == [
                ("w0", closed[0]),
                ("w1", closed[1]),
            ]
            # A refusal came with each two closes, and is counted in memory alone.
            assert book.rows("SELECT sum(count) FROM refusals") == [(sum(closed) // 2,)]
            book.agree()
        return sum(closed)
    finally:
        server.remove()


async def test_a_server_killed_paused_and_stopped_loses_nothing(tmp_path: Path) -> None:
    async def faults(server: PostgresServer) -> None:
        for _ in range(2):
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.3)  # closes gather meanwhile; nothing waits for the end of it
            await asyncio.to_thread(server.start)
            await asyncio.sleep(0.1)
        server.pause()
        await asyncio.sleep(0.3)
        server.go_on()
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)

    assert await outage(tmp_path, faults) > 200


async def test_a_database_that_is_set_back_under_a_running_process_gets_all_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a failover to a replica that lagged. The journal has what it lacks."""
    url = postgres().database()
    name = url.rpartition("/")[2]

    async def alone() -> None:
        """Nobody is connected; those who were come back."""
        postgres().sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await until(lambda: not postgres().sql(f"{END} WHERE datname = '{name}'"))

    async with guard(), running(url, tmp_path, 0) as one:
        for _ in range(10):
            one.end_some()
        assert await one.recorder.drain(GUARD_S)
        await alone()
        postgres().sql(f"CREATE DATABASE {name}_before TEMPLATE {name}")
        postgres().sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        one.recorder.price_terms("v2", b"terms")
        for _ in range(300):
            one.end_some()
        assert await one.recorder.drain(GUARD_S)
        await alone()
        postgres().sql(f"DROP DATABASE {name}")
        postgres().sql(f"CREATE DATABASE {name} TEMPLATE {name}_before")
        for _ in range(5):
            one.end_some()
        assert await one.recorder.drain(GUARD_S)
        assert one.recorder.backlog == 0
        assert "600 records of the journal 'w0' are booked again" in caplog.text
        with books(url) as book:
            assert whole_chains(book) == one.closed == 630
            book.agree()
            assert book.rows("SELECT count(*) FROM end_users") == [(630,)]
            assert book.rows("SELECT version FROM price_versions") == [("v1",), ("v2",)]
            # Refusals are in no journal: those of before, and those that were on their way.
            assert book.rows("SELECT sum(count) FROM refusals") == [(10 + 5,)]


@pytest.mark.campaign
async def test_ten_minutes_without_the_server_lose_nothing(tmp_path: Path) -> None:
    async def faults(server: PostgresServer) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(600)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(5)

    assert await outage(tmp_path, faults) > 10_000


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(20))
def test_whatever_disturbs_the_server_each_record_and_refusal_counts_once(seed: int) -> None:
    """Killed, paused, its connections ended, statements cancelled, tables locked and rewritten."""
    server = PostgresServer(programs())
    try:
        assert disturbed(server, seed, times=150) > 0
    finally:
        server.remove()
