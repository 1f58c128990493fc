"""Brings a PostgreSQL database to the present schema, and adds the months ahead.

The version stands in `ledger_schema`, with the oldest version whose programs can still write.
Migrations only add, so that an older program goes on while a newer one is rolled out. The schema's
owner migrates, in a deployment by itself; the first process does it where it owns the schema.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import errors, sql

from proxy.ledger import LedgerError, Migrated
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.connection import LEDGER, MIGRATING, Connection, lock, meant, opened
from proxy.ledger.postgresql.tables import MIGRATIONS, RIGHTS

_LOG = logging.getLogger("tollkeeper.ledger")
SCHEMA_VERSION: Final = len(MIGRATIONS)
MONTHS_AHEAD: Final = 2

_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS ledger_schema (
    version integer PRIMARY KEY,
    applied_at_ms bigint NOT NULL,
    oldest_writer integer NOT NULL,
    identity text NOT NULL DEFAULT gen_random_uuid()::text
)
"""
_IDENTITY: Final = "SELECT identity FROM ledger_schema ORDER BY version LIMIT 1"
# One look at both: a process that migrates meanwhile makes them at once.
_OURS: Final = """
SELECT bool_or(relname = 'ledger_schema'), bool_or(relname = 'records') FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relname IN ('ledger_schema', 'records')
"""
_APPLIED: Final = (
    "INSERT INTO ledger_schema (version, applied_at_ms, oldest_writer) "
    "VALUES (%s, extract(epoch FROM clock_timestamp()) * 1000, 1)"
)


def schema_version(connection: Connection, ledger: str, newest: int = SCHEMA_VERSION) -> int:
    """The database's schema version, 0 when there is no ledger in it.

    Raises LedgerError when other tables are in the way, or the schema is too new for this program.
    """
    [ours, records] = connection.execute(_OURS).fetchone() or (False, False)
    if not ours:
        if records:
            raise LedgerError(
                f"{ledger}: the table records there is not of this program: name another database "
                "in ledger.url, or another schema"
            )
        return 0
    row = connection.execute(
        "SELECT version, oldest_writer FROM ledger_schema ORDER BY version DESC LIMIT 1"
    ).fetchone()
    version, oldest = (0, 0) if row is None else (int(row[0]), int(row[1]))
    if oldest > newest:
        raise LedgerError(
            f"{ledger} has schema version {version}, and this version of the program writes up to "
            f"{newest}: run the newer version that made it"
        )
    return version


def identity(connection: Connection) -> str:
    """What tells this ledger from every other one, for as long as it is there."""
    row = connection.execute(_IDENTITY).fetchone()
    assert row is not None, "the first migration made it"
    return str(row[0])


def migrate(
    connection: Connection, ledger: str, migrations: Sequence[str] = MIGRATIONS
) -> list[int]:
    """Bring the database to the present schema; returns the versions that were applied.

    Each version is a transaction of its own, under a lock that other processes wait for. No other
    lock is waited for longer than two seconds, so that nobody is held up behind it.
    """
    applied: list[int] = []
    while schema_version(connection, ledger, len(migrations)) < len(migrations):
        try:
            applied += _next(connection, ledger, migrations)
        except errors.InsufficientPrivilege as error:
            raise LedgerError(
                f"{ledger} needs its schema brought up to version {len(migrations)}, and this user "
                "may not do that: run `tollkeeper ledger migrate` as the schema's owner"
            ) from error
    return applied


def _next(connection: Connection, ledger: str, migrations: Sequence[str]) -> list[int]:
    """Apply the next version, unless another process did meanwhile."""
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, MIGRATING)})")
        connection.execute("SET LOCAL lock_timeout = '2s'")
        version = schema_version(connection, ledger, len(migrations)) + 1
        if version > len(migrations):
            return []
        connection.execute(_VERSIONS)
        connection.execute(migrations[version - 1])
        connection.execute(_APPLIED, (version,))
    return [version]


def bring_up(url: str, data_dir: Path, role: str | None) -> Migrated:
    """Migrate, add the months, and allow a role; see `proxy.ledger.bring_up`."""
    ledger = name(url)
    with opened(url, writes=True) as connection:
        try:
            before = schema_version(connection, ledger)
            migrate(connection, ledger)
            add_months(connection, datetime.datetime.now(datetime.UTC).date())
            if role is not None:
                allow(connection, role)
            return Migrated(ledger, before, schema_version(connection, ledger))
        except psycopg.Error as error:
            raise meant(error, ledger) from error


def add_months(connection: Connection, today: datetime.date) -> int:
    """Add what is missing of the months from the last to the next but one; returns how many.

    One that cannot be added now is added by a later call: meanwhile its rows go to
    `records_default`. Last month's is for what a journal still holds of it.
    """
    added = 0
    for ahead in range(-1, MONTHS_AHEAD + 1):
        months = today.year * 12 + today.month - 1 + ahead
        day = datetime.date(months // 12, months % 12 + 1, 1)
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '2s'")
                connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, MIGRATING)})")
                [made] = connection.execute("SELECT add_month(%s)", (day,)).fetchone() or (False,)
            added += bool(made)
        except errors.LockNotAvailable:
            return added
        except errors.RaiseException as error:
            # One of the two clocks is wrong. What is booked meanwhile lies in records_default.
            _LOG.error(
                "%s adds no month of the time that it is here: %s. Set the clocks right",
                connection.info.dbname,
                error.diag.message_primary,
            )
            return added
    return added


def allow(connection: Connection, role: str) -> None:
    """Give a role what a process needs that books and reads. Raises psycopg.Error."""
    row = connection.execute("SELECT current_schema()").fetchone()
    assert row is not None, "a function's value is one row"
    given = sql.SQL(RIGHTS).format(role=sql.Identifier(role), schema=sql.Identifier(row[0]))
    with connection.transaction():
        connection.execute(given)


def weakness(url: str, data_dir: Path) -> str | None:
    """Whether the role in the URL could change the book; see `proxy.ledger.weakness`."""
    ledger = name(url)
    with opened(url, writes=False) as connection:
        try:
            owns = owns_the_book(connection)
        except psycopg.Error as error:
            raise meant(error, ledger) from error
    if not owns:
        return None
    return (
        f"{ledger}: the role in ledger.url owns the tables, so that it could take their triggers "
        "off and change the book: let it use a role that only books, as docs/scale.md says"
    )


def owns_the_book(connection: Connection) -> bool:
    """Whether this user could take the triggers off the book, or change who may."""
    try:
        row = connection.execute(
            "SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class "
            "WHERE oid = to_regclass('records')"
        ).fetchone()
    except psycopg.errors.UndefinedObject:
        return False
    return row is not None and bool(row[0])
