"""Connections that only read: one state a question, few of them open, a new one for a lost one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import psycopg
import pytest

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.read_only import IDLE_MAX, Connections
from proxy.ledger.postgresql.schema import migrate
from tests.ledger.postgresql.shim import Shim
from tests.support.postgres import postgres
from tests.support.waiting import guard, until_blocking

pytestmark = pytest.mark.whole  # a server of its own

OURS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


@pytest.fixture
def url() -> str:
    found = postgres().database()
    with opened(found, writes=True) as connection:
        migrate(connection, "it")
    return found


def sessions(url: str) -> int:
    """How many connections to the database there are, without the one that asks."""
    with psycopg.connect(url, autocommit=True) as connection:
        [count] = connection.execute(f"{OURS} AND pid <> pg_backend_pid()").fetchone() or (0,)
        return int(count)


def test_a_question_is_one_state_and_changes_nothing(url: str) -> None:
    connections = Connections(url, "it")
    with connections.reading() as one, psycopg.connect(url, autocommit=True) as writer:
        count = "SELECT count(*) FROM end_users"
        assert one.execute(count).fetchone() == (0,)
        writer.execute("INSERT INTO end_users VALUES ('a', 'b')")
        assert one.execute(count).fetchone() == (0,)
    with (
        pytest.raises(LedgerUnavailable, match="cannot execute INSERT in a read-only transaction"),
        connections.reading() as one,
    ):
        one.execute("INSERT INTO end_users VALUES ('c', 'd')")
    with connections.reading() as one:
        assert one.execute(count).fetchone() == (1,)


def test_a_few_connections_stay_and_are_closed_with_their_reader(url: str) -> None:
    ask_at_once(Connections(url, "it"), IDLE_MAX + 3, lambda: sessions(url) >= IDLE_MAX + 3)
    gc.collect()
    until_blocking(lambda: sessions(url) == 0)
    connections = Connections(url, "it")
    ask_at_once(connections, IDLE_MAX + 3, lambda: True)
    until_blocking(lambda: sessions(url) == IDLE_MAX)
    # The connection that counted before may still be on its way out.
    ask_at_once(connections, IDLE_MAX, lambda: until_blocking(lambda: sessions(url) == IDLE_MAX))


def ask_at_once(connections: Connections, threads: int, holds: Callable[[], bool]) -> None:
    """So many questions at once, and what holds while all of them are open."""
    inside = threading.Barrier(threads + 1)

    def ask() -> None:
        with connections.reading() as one:
            one.execute("SELECT 1")
            inside.wait()
            inside.wait()

    started = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in started:
        thread.start()
    inside.wait()
    assert holds()
    inside.wait()
    for thread in started:
        thread.join()


def test_a_connection_that_the_server_dropped_is_made_anew(url: str) -> None:
    connections = Connections(url, "it")
    with connections.reading() as one:
        [pid] = one.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with connections.reading() as one:
        [again] = one.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    assert again != pid


async def test_a_question_without_an_answer_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Shim(postgres().port) as shim, guard():
        behind = postgres().url(url.rpartition("/")[2], port=shim.port)
        connections = Connections(behind, "the ledger")

        def ask(*, silent: bool) -> object:
            with connections.reading() as one:
                if silent:
                    shim.silence_present()
                return one.execute("SELECT 1").fetchone()

        monkeypatch.setattr("proxy.ledger.postgresql.read_only.ANSWER_MAX_S", 0.2)
        with pytest.raises(LedgerUnavailable, match=r"the ledger: .* closed the connection"):
            await asyncio.to_thread(ask, silent=True)
        monkeypatch.setattr("proxy.ledger.postgresql.read_only.ANSWER_MAX_S", 600.0)
        assert await asyncio.to_thread(ask, silent=False) == (1,)
        # Of one that was idle this is known sooner, and another takes its place.
        shim.silence_present()
        monkeypatch.setattr("proxy.ledger.postgresql.read_only.OPENING_MAX_S", 0.2)
        assert await asyncio.to_thread(ask, silent=False) == (1,)


def test_a_question_that_fails_says_the_ledgers_name_and_no_password(url: str) -> None:
    secret = url.replace("owner@", "owner:s3cret@")
    connections = Connections(secret, "postgresql://host/db")
    with (
        pytest.raises(LedgerError, match=r"^postgresql://host/db: .*no_such_table") as told,
        connections.reading() as one,
    ):
        one.execute("SELECT * FROM no_such_table")
    assert "s3cret" not in str(told.value)


def test_a_database_without_a_ledger_says_what_makes_one() -> None:
    with (
        pytest.raises(LedgerError, match=r"no ledger at it yet: `tollkeeper serve` makes it"),
        Connections(postgres().database(), "it").reading(),
    ):
        pass


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        pytest.raises(LedgerUnavailable, match="Connection refused"),
        Connections("postgresql://owner@127.0.0.1:1/db", "it").reading(),
    ):
        pass
