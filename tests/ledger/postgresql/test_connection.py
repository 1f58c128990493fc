"""A connection has the ledger's settings whatever the role has, and its errors say what to do."""

from __future__ import annotations

import asyncio
import socket

import psycopg
import pytest

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.postgresql.connection import meant, opened
from tests.ledger.postgresql.shim import Shim
from tests.support.postgres import postgres
from tests.support.waiting import guard

pytestmark = pytest.mark.whole  # a server of its own


def shown(url: str, setting: str, *, writes: bool = True) -> object:
    with opened(url, writes=writes) as connection:
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("setting", "of_the_role", "ours"),
    [
        ("default_transaction_isolation", "serializable", "read committed"),
        ("default_transaction_deferrable", "on", "off"),
        ("statement_timeout", "10ms", "1min"),
        ("lock_timeout", "1ms", "20s"),
        ("idle_in_transaction_session_timeout", "1s", "1min"),
        ("synchronous_commit", "off", "on"),
        ("synchronous_commit", "remote_write", "remote_write"),
        ("client_encoding", "LATIN1", "UTF8"),
        ("jit", "on", "off"),
        ("transaction_timeout", "5s", "0"),
        ("idle_session_timeout", "5s", "0"),
    ],
)
def test_what_a_role_is_given_does_not_reach_the_ledger(
    setting: str, of_the_role: str, ours: str
) -> None:
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql(f"ALTER DATABASE {database} SET {setting} = '{of_the_role}'")
    assert shown(url, setting) == ours


def test_one_schema_is_seen_and_no_other() -> None:
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql("CREATE SCHEMA book", database)
    postgres().sql(f"ALTER DATABASE {database} SET search_path = gone, book, public")
    assert shown(url, "search_path") == "book, pg_temp"
    assert shown(f"{url}?options=-csearch_path%3Dpublic", "search_path") == "public, pg_temp"
    with pytest.raises(LedgerError, match="names no schema that is there: CREATE SCHEMA"):
        opened(f"{url}?options=-csearch_path%3Dgone", writes=True)


def test_a_reader_cannot_write() -> None:
    with (
        opened(postgres().database(), writes=False) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("CREATE TABLE t (n int)")


def test_a_reader_plans_each_question_for_what_it_asks() -> None:
    with opened(postgres().database(), writes=False) as connection:
        [(mode,)] = connection.execute("SHOW plan_cache_mode").fetchall()
        assert mode == "force_custom_plan"


def test_a_database_that_only_reads_is_not_written_to() -> None:
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(LedgerUnavailable, match="read-only"):
        opened(url, writes=True)


async def test_a_server_that_says_nothing_behind_the_login_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.ledger.postgresql.connection.OPENING_MAX_S", 0.2)
    url = postgres().database()
    async with Shim(postgres().port) as shim, guard():
        behind = postgres().url(url.rpartition("/")[2], port=shim.port)
        shim.silent_from_login = True
        for writes in (True, False):
            with pytest.raises(LedgerUnavailable, match="closed the connection"):
                await asyncio.to_thread(opened, behind, writes=writes)
        shim.silent_from_login = False
        (await asyncio.to_thread(opened, behind, writes=True)).close()


def test_another_encoding_is_refused() -> None:
    postgres().sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(LedgerError, match="encoding is LATIN1: make one with ENCODING 'UTF8'"):
        opened(postgres().url("latin"), writes=True)


def test_a_server_that_is_away_is_named_without_user_and_password() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        port = held.getsockname()[1]
        with pytest.raises(LedgerUnavailable) as away:
            opened(f"postgresql://app:geheim@127.0.0.1:{port}/tk", writes=True)
    assert str(away.value).startswith(f"postgresql://127.0.0.1:{port}/tk: ")
    assert str(away.value).endswith("refused. Check its URL (ledger.url), and that the server runs")
    assert "geheim" not in str(away.value)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (psycopg.errors.UndefinedTable("no heads"), LedgerError, "no heads"),
        (psycopg.errors.UndefinedTable("no stage"), LedgerUnavailable, "pool_mode=session"),
        (psycopg.errors.DuplicateTable("stage"), LedgerUnavailable, "pool_mode=session"),
        (psycopg.errors.InvalidPassword("no"), LedgerError, "no"),
        (psycopg.errors.InsufficientPrivilege("no"), LedgerError, "docs/scale.md"),
        (psycopg.errors.ReadOnlySqlTransaction("no"), LedgerUnavailable, "replica"),
        (psycopg.errors.InvalidSqlStatementName("_pg3_0"), LedgerUnavailable, "pool_mode=session"),
        (psycopg.errors.AdminShutdown("going down"), LedgerUnavailable, "going down"),
        (psycopg.errors.DiskFull("full"), LedgerUnavailable, "full"),
        (psycopg.errors.DeadlockDetected("a\n\tb"), LedgerUnavailable, "a b"),
        (psycopg.OperationalError(), LedgerUnavailable, "OperationalError"),
    ],
)
def test_an_error_says_whether_waiting_helps(
    error: psycopg.Error, kind: type[Exception], said: str
) -> None:
    found = meant(error, "postgresql://db/tk")
    assert type(found) is kind
    assert said in str(found) and "postgresql://db/tk" in str(found)
