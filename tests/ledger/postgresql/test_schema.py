"""Migrations run once, one process after the other, and an older program goes on beside them."""

from __future__ import annotations

import datetime
import hashlib
import threading

import psycopg
import pytest

from proxy.ledger import LedgerError
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.schema import (
    SCHEMA_VERSION,
    add_months,
    allow,
    migrate,
    owns_the_book,
    schema_version,
)
from proxy.ledger.postgresql.tables import MIGRATIONS
from tests.ledger.postgresql.databases import TODAY, migrated
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

# A released migration never changes: a new version is a new entry.
RELEASED: tuple[str, ...] = ()


def test_a_migration_once_released_stays_as_it_is() -> None:
    digests = tuple(hashlib.sha256(text.encode()).hexdigest()[:16] for text in MIGRATIONS)
    assert digests[: len(RELEASED)] == RELEASED


def test_an_empty_database_is_brought_to_the_present_schema_once() -> None:
    with opened(postgres().database(), writes=True) as connection:
        assert schema_version(connection, "it") == 0
        assert migrate(connection, "it") == list(range(1, SCHEMA_VERSION + 1))
        assert migrate(connection, "it") == []
        assert schema_version(connection, "it") == SCHEMA_VERSION


def test_processes_that_start_together_migrate_once() -> None:
    url = postgres().database()
    applied: list[list[int]] = []
    added: list[int] = []

    def start() -> None:
        with opened(url, writes=True) as connection:
            applied.append(migrate(connection, "it"))
            added.append(add_months(connection, TODAY))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version for versions in applied for version in versions) == list(
        range(1, SCHEMA_VERSION + 1)
    )
    assert (len(added), sum(added)) == (8, 4)


def test_a_migration_that_fails_leaves_nothing_behind() -> None:
    with migrated() as connection:
        broken = (*MIGRATIONS, "CREATE TABLE half (n int); SELECT 1 / 0")
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate(connection, "it", broken)
        assert schema_version(connection, "it") == SCHEMA_VERSION
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        mended = (*MIGRATIONS, "ALTER TABLE records ADD COLUMN more text")
        assert migrate(connection, "it", mended) == [SCHEMA_VERSION + 1]


def test_an_older_program_goes_on_until_a_migration_says_otherwise() -> None:
    with migrated() as connection:
        migrate(connection, "it", (*MIGRATIONS, "CREATE TABLE later (n int)"))
        assert schema_version(connection, "it") == SCHEMA_VERSION + 1
        assert migrate(connection, "it") == []
        connection.execute("UPDATE ledger_schema SET oldest_writer = version")
        with pytest.raises(LedgerError, match="run the newer version that made it"):
            migrate(connection, "it")


def test_a_busy_table_is_not_waited_for() -> None:
    """Others would queue behind a migration that waits."""
    with (
        migrated() as connection,
        opened(postgres().url(connection.info.dbname), writes=True) as other,
        other.transaction(),
    ):
        other.execute("LOCK TABLE records IN ACCESS SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrate(connection, "it", (*MIGRATIONS, "ALTER TABLE records ADD COLUMN more text"))


def test_another_programs_tables_are_left_alone() -> None:
    with opened(postgres().database(), writes=True) as connection:
        connection.execute("CREATE TABLE records (n int)")
        with pytest.raises(LedgerError, match="name another database"):
            migrate(connection, "it")


def test_who_does_not_own_the_schema_is_told_to_have_it_migrated() -> None:
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    with (
        opened(postgres().url(database, "stranger"), writes=True) as connection,
        pytest.raises(LedgerError, match="tollkeeper ledger migrate"),
    ):
        migrate(connection, "it")


def test_the_owner_of_the_book_is_known() -> None:
    with migrated() as owner:
        owner.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN")
        allow(owner, "clerk")
        with opened(postgres().url(owner.info.dbname, "clerk"), writes=True) as clerk:
            assert (owns_the_book(owner), owns_the_book(clerk)) == (True, False)
        owner.execute("DROP OWNED BY clerk")


def test_last_month_and_two_months_ahead_are_there() -> None:
    with opened(postgres().database(), writes=True) as connection:
        migrate(connection, "it")
        assert add_months(connection, datetime.date(2026, 11, 30)) == 4
        assert add_months(connection, datetime.date(2026, 12, 1)) == 1
        parts = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'records\\_2%' AND relkind = 'r'"
        ).fetchall()
    assert sorted(name for (name,) in parts) == [
        "records_2026_10",
        "records_2026_11",
        "records_2026_12",
        "records_2027_01",
        "records_2027_02",
    ]


def test_a_month_that_cannot_be_added_now_is_added_later() -> None:
    url = postgres().database()
    with opened(url, writes=True) as connection, opened(url, writes=True) as other:
        migrate(connection, "it")
        with other.transaction():
            other.execute("LOCK TABLE records_default IN ACCESS SHARE MODE")
            assert add_months(connection, TODAY) == 0
        assert add_months(connection, TODAY) == 4


def test_a_month_far_from_today_is_not_added() -> None:
    with migrated() as connection:
        for day in (datetime.date(2019, 12, 31), datetime.date(2999, 1, 1)):
            with pytest.raises(psycopg.errors.RaiseException, match="so far from today"):
                connection.execute("SELECT add_month(%s)", (day,))


def test_a_clock_that_is_wrong_keeps_nobody_from_booking(caplog: pytest.LogCaptureFixture) -> None:
    """The server's, or this one's: what is booked lies in records_default until they agree."""
    with migrated() as connection:
        assert add_months(connection, datetime.date(2031, 1, 15)) == 0
        assert (
            "no month is added so far from today: 2030-12-01. Set the clocks right" in caplog.text
        )
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
