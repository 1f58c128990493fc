"""Opens connections to PostgreSQL, and says what their errors mean.

A provider or an administrator may set almost anything for a role or a database: time-outs, the
isolation of transactions, commits that do not wait for the disk. The ledger relies on its own
settings, so each connection begins with them. Both sides look whether the other is still there: a
server would hold the locks of a host that lost its power for two hours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors, sql

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.postgresql.address import name, read

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SERVER_MIN: Final = 15  # UNIQUE NULLS NOT DISTINCT
# Kinds of advisory locks: of the whole ledger; with the number of a chain's name; with that of a
# journal's writer, which is held for as long as a connection.
LEDGER, CHAIN, WRITER = range(3)
MIGRATING, COMMITTING, ADMINISTERING, CORRECTING = range(1, 5)
_OURS: Final = 0x544F_4C4C  # tells them from other programs' locks

_SETTINGS: Final = """
SET statement_timeout = '60s';
SET lock_timeout = '20s';
SET idle_in_transaction_session_timeout = '60s';
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off;
SET jit = off;
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '30s';
"""
# What a writer adds. A commit that does not wait for the disk would be confirmed and then lost.
_DURABLE: Final = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""
# What a reader adds. The driver prepares what is asked often, and the server then makes one plan
# for all stretches of the book: of a million records, each page took it 100 ms to find.
_READING: Final = """
SET default_transaction_read_only = on;
SET plan_cache_mode = force_custom_plan;
"""
# A provider may set these for a role, and a server of before 17 or 14 does not know them.
_NEWER_SETTINGS: Final = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('transaction_timeout', 'idle_session_timeout')
"""
OPENING_MAX_S: Final = 10.0  # for each answer while a connection is made ready
# Of these, time heals none: a wrong password, no such database, no right, no such table.
_LASTING: Final = ("28", "3D", "3F", "42")
# How the client library ends its sentence about a refused connection.
_IS_IT_RUNNING: Final = " Is the server running on that host and accepting TCP/IP connections?"


def opened(url: str, *, writes: bool) -> Connection:
    """A connection in autocommit mode. Raises LedgerError or LedgerUnavailable."""
    parameters = read(url)
    if writes:
        parameters.setdefault("target_session_attrs", "read-write")
    try:
        connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        reason = _said(error).removeprefix("connection failed: ").removesuffix(_IS_IT_RUNNING)
        raise LedgerUnavailable(
            f"{name(url)}: {reason}. Check its URL (ledger.url), and that the server runs"
        ) from error
    try:
        with answering(connection, OPENING_MAX_S):
            _settle(connection, name(url), writes)
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.Error):
            raise meant(error, name(url)) from error
        raise
    return connection


def lock(kind: int, number: int) -> str:
    """SQL for the key of an advisory lock.

    Such locks are the database's, so the schema is in it: each schema may have a ledger.
    """
    return f"hashtextextended(current_schema() || ' {kind} {number}', {_OURS})"


def cut(connection: Connection | None) -> None:
    """End a connection under whatever waits on it. From any thread."""
    with contextlib.suppress(psycopg.Error, OSError):
        if connection is not None:
            with socket.socket(fileno=os.dup(connection.fileno())) as ended:
                ended.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answering(connection: Connection, most_s: float) -> Iterator[None]:
    """End the connection if what is asked on it meanwhile takes longer than so many seconds.

    A server that was stopped, or a way that swallows all, keeps a connection open without a word.
    Neither the server's time-outs nor those of TCP end it then.
    """
    timer = threading.Timer(most_s, cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def meant(error: psycopg.Error, ledger: str) -> LedgerError | LedgerUnavailable:
    """What an error of the database means for the caller."""
    message = f"{ledger}: {_said(error)}"
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return LedgerUnavailable(f"{message}. It is a replica now, or set to read-only")
    # The table that is this connection's own is gone, or there already.
    changed = (
        isinstance(error, errors.UndefinedTable | errors.DuplicateTable) and "stage" in message
    )
    if changed or isinstance(error, errors.InvalidSqlStatementName):
        return LedgerUnavailable(
            f"{message}. A pooler in between changes connections: run pgBouncer with "
            "pool_mode=session for this database"
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return LedgerError(f"{message}. Grant what docs/scale.md lists, as the schema's owner")
    if error.sqlstate is not None and error.sqlstate.startswith(_LASTING):
        return LedgerError(message)
    return LedgerUnavailable(message)


def _settle(connection: Connection, ledger: str, writes: bool) -> None:
    """Make the connection's settings ours, and check the server."""
    version = connection.info.server_version // 10_000
    if version < SERVER_MIN:
        raise LedgerError(f"{ledger}: PostgreSQL {version} is too old: use {SERVER_MIN} or newer")
    connection.execute(_SETTINGS)
    connection.execute(_NEWER_SETTINGS)
    [encoding, schema] = connection.execute(
        "SELECT current_setting('server_encoding'), current_schema()"
    ).fetchone() or (None, None)
    if encoding != "UTF8":
        raise LedgerError(
            f"{ledger}: the database's encoding is {encoding}: make one with ENCODING 'UTF8'"
        )
    if schema is None:
        raise LedgerError(
            f"{ledger}: its search_path names no schema that is there: CREATE SCHEMA it, or add "
            "?options=-csearch_path%3DSCHEMA to ledger.url"
        )
    # One schema and no other: a table of the same name elsewhere must never be taken for ours.
    connection.execute(sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(str(schema))))
    if writes:
        connection.execute(_DURABLE)
    else:
        connection.execute(_READING)


def _said(error: psycopg.Error) -> str:
    """The error's message on one line."""
    text = " ".join(str(error).split())
    return text.rstrip(".") or type(error).__name__
