"""The connection is made anew when it breaks, and what a broken one left is told apart."""

from __future__ import annotations

import threading

import psycopg
import pytest

from proxy.ledger import LedgerUnavailable
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.line import AGE_MAX_S, CommitUnsure, Line, number
from tests.ledger.postgresql.books import books
from tests.support.postgres import postgres
from tests.support.waiting import until_blocking

pytestmark = pytest.mark.whole  # a server of its own


def backend(line: Line) -> int:
    return line.ask(lambda one: one.info.backend_pid)


def put(connection: Connection) -> None:
    connection.execute("INSERT INTO end_users VALUES ('a', '')")


def kill(pid: int) -> None:
    postgres().sql(f"SELECT pg_terminate_backend({pid})")
    until_blocking(lambda: not postgres().sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"))


def test_an_idle_connection_that_the_server_ended_is_made_anew_at_the_next_call() -> None:
    with books() as book:
        first = backend(book.line)
        kill(first)
        book.line.transaction(put)
        assert book.rows("SELECT count(*) FROM end_users") == [(1,)]
        assert backend(book.line) != first


def test_a_transaction_that_broke_has_done_nothing() -> None:
    with books() as book:

        def broken(connection: Connection) -> None:
            put(connection)
            kill(connection.info.backend_pid)
            connection.execute("SELECT 1")

        with pytest.raises(LedgerUnavailable) as failed:
            book.line.transaction(broken)
        assert not isinstance(failed.value, CommitUnsure)
        assert book.rows("SELECT * FROM end_users") == []


def test_a_commit_without_an_answer_is_told_apart() -> None:
    with books() as book:

        def last(connection: Connection) -> None:
            put(connection)
            kill(connection.info.backend_pid)

        with pytest.raises(CommitUnsure):
            book.line.transaction(last)
        assert book.rows("SELECT * FROM end_users") == []


def test_a_transaction_that_failed_inside_does_not_commit_quietly() -> None:
    with books() as book:

        def half(connection: Connection) -> None:
            put(connection)
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")

        with pytest.raises(LedgerUnavailable, match="ended with ROLLBACK"):
            book.line.transaction(half)
        assert book.rows("SELECT * FROM end_users") == []
        book.line.transaction(put)
        assert book.rows("SELECT lookup FROM end_users") == [("a",)]


def test_an_error_of_the_caller_rolls_back_and_leaves_the_connection_usable() -> None:
    with books() as book:
        first = backend(book.line)

        def wrong(connection: Connection) -> None:
            put(connection)
            raise KeyError("a slip")

        with pytest.raises(KeyError):
            book.line.transaction(wrong)
        assert book.rows("SELECT * FROM end_users") == []
        assert backend(book.line) == first


def test_a_connection_is_made_anew_each_hour() -> None:
    """The temporary table of an old one would hold back the whole server's clean-up."""
    now_s = 0.0
    line = Line(postgres().database(), now_s=lambda: now_s)
    line.own("w0")
    first = backend(line)
    now_s = AGE_MAX_S - 1
    assert backend(line) == first
    now_s = AGE_MAX_S
    assert backend(line) != first  # and this process still owns its name
    with (
        books(line.ask(lambda one: postgres().url(one.info.dbname))) as other,
        pytest.raises(LedgerUnavailable, match="another process books as 'w0'"),
    ):
        other.line.own("w0")
    line.close()


def test_a_name_that_is_let_go_is_anothers() -> None:
    with books() as book, books(book.url) as other:
        book.line.own("w0")
        book.line.own("w1")
        with pytest.raises(LedgerUnavailable, match="another process books as 'w0'"):
            other.line.own("w0")
        book.line.disown("w0")
        book.line.disown("w0")
        other.line.own("w0")
        with pytest.raises(LedgerUnavailable, match="another process books as 'w1'"):
            other.line.own("w1")
        book.line.close()
        book.rows("SELECT 1")  # a new connection takes no name that was let go


@pytest.mark.parametrize("stead", ["", "another ledger"])
def test_a_database_in_the_place_of_the_ledgers_is_not_written_to(stead: str) -> None:
    """As where a name leads to a new server: what is booked there would be missing in the book."""
    with books() as book:
        book.rows("SELECT 1")
        database = book.url.rpartition("/")[2]
        book.line.close()
        until_blocking(lambda: renamed(database))
        postgres().sql(f"CREATE DATABASE {database}")
        if stead:
            with books(book.url) as other:
                other.rows("SELECT 1")
        with pytest.raises(LedgerUnavailable, match="another ledger than at the start"):
            book.rows("SELECT 1")
        if not stead:
            assert postgres().sql("SELECT to_regclass('records')", database) == [(None,)]


def renamed(database: str) -> bool:
    """Once the server has ended its connections."""
    try:
        postgres().sql(f"ALTER DATABASE {database} RENAME TO {database}_kept")
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_who_waits_is_cut_off() -> None:
    with books() as book:
        book.rows("SELECT 1")
        waiting = threading.Event()
        failed: list[Exception] = []

        def wait() -> None:
            def asleep(connection: Connection) -> None:
                waiting.set()
                connection.execute("SELECT pg_sleep(3600)")

            try:
                book.line.transaction(asleep)
            except LedgerUnavailable as error:
                failed.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait()
        while thread.is_alive():
            book.line.cut()
            thread.join(0.01)
        assert len(failed) == 1
        assert book.rows("SELECT 1") == [(1,)]


def test_nothing_is_cut_where_nothing_is_open() -> None:
    line = Line(postgres().database())
    line.cut()
    line.close()
    assert line.ask(lambda one: one.execute("SELECT 1").fetchone()) == (1,)
    line.close()


def test_a_pooler_that_changes_connections_is_named() -> None:
    """Behind pgBouncer in transaction mode the temporary table is on another connection."""
    with books() as book:
        book.do("DROP TABLE pg_temp.stage")
        with pytest.raises(LedgerUnavailable, match="pool_mode=session"):
            book.line.transaction(lambda one: one.execute("SELECT * FROM stage"))


def test_a_number_fits_a_lock() -> None:
    found = [number(f"w{n}") for n in range(50)]
    assert all(-(2**31) <= one < 2**31 for one in found) and min(found) < 0 < max(found)
    assert number("w0") != number("w1")
