"""Who shares a ledger in PostgreSQL, and what is new in it: one connection that listens.

The database's clock says how long a process has been silent. A NOTIFY is lost with its connection,
so each look asks for the versions too.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg

from proxy.core.managed import Managed
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.asking import answer_of
from proxy.ledger.postgresql.address import name as name_of
from proxy.ledger.postgresql.connection import Connection, answering, cut, meant, opened
from proxy.ledger.postgresql.credits import after
from proxy.ledger.postgresql.read_only import Connections, OneState
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.postgresql.tenants import CHANNEL
from proxy.ledger.postgresql.worker import Worker
from proxy.ledger.sharing import (
    LAPSE_S,
    LOOK_S,
    BookState,
    HeardOf,
    Instance,
    InstanceState,
    NameTaken,
    News,
    Writer,
)

BEAT_S: Final = 1.0
ANSWER_MAX_S: Final = 5.0  # a server that says nothing for so long is away

_SILENT: Final = "extract(epoch FROM clock_timestamp() - seen_at)::float8"
_FOUND: Final = f"SELECT boot, home, state, {_SILENT} FROM instances WHERE name = %s FOR UPDATE"
_ARRIVE: Final = """
INSERT INTO instances (name, boot, home, state) VALUES (%(name)s, %(boot)s, %(home)s, 'live')
ON CONFLICT (name) DO UPDATE SET boot = excluded.boot, home = excluded.home, state = 'live',
    started_at = clock_timestamp(), seen_at = clock_timestamp(), clear_ms = NULL"""
_BEAT: Final = """
UPDATE instances SET seen_at = clock_timestamp(), state = %s, clear_ms = %s
WHERE name = %s AND boot = %s RETURNING 1"""
_VERSIONS: Final = """
SELECT (SELECT coalesce(max(version), 0) FROM tenants), (SELECT coalesce(max(seq), 0) FROM grants)
"""
_NEWER: Final = "SELECT doc FROM tenants WHERE version > %s ORDER BY version, kind, name"
_ALL: Final = f"""
SELECT name, state, (extract(epoch FROM started_at) * 1000)::bigint,
    (extract(epoch FROM seen_at) * 1000)::bigint, {_SILENT}, home, clear_ms
FROM instances WHERE state <> 'forgotten' ORDER BY name"""
_WRITERS: Final = """
SELECT coalesce(i.name, p.writer), coalesce(p.seq, 0), coalesce(i.state = 'live', false)
FROM instances AS i FULL JOIN journal_positions AS p ON p.writer = i.name ORDER BY 1"""
_FORGET: Final = "UPDATE instances SET state = 'forgotten' WHERE name = %s AND boot = %s"
_TAKE_OVER: Final = "UPDATE instances SET boot = %s WHERE name = %s"
_SETTLED: Final = """
UPDATE instances SET state = 'left' WHERE name = %s AND boot = %s AND state = 'live'"""
_MANAGED: Final = msgspec.json.Decoder(Managed)


class PostgresSharing:
    """See `proxy.ledger.sharing.Sharing`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = name_of(url)
        self._reading = Connections(url, self.name)
        self._connection: Connection | None = None
        self._worker = Worker(self._cut, ANSWER_MAX_S)
        self._me = ""
        self._boot = secrets.token_hex(8)
        self._beat_s = 0.0

    async def arrive(self, name: str, home: str) -> None:
        """See `Sharing.arrive`. One that was just killed elsewhere is waited for."""
        until_s = time.monotonic() + LAPSE_S + BEAT_S
        while (silent_s := await self._worker.done(lambda: self._take(name, home))) is not None:
            if time.monotonic() >= until_s:
                raise NameTaken(
                    f"another process runs as {name!r} on another data directory, and was heard of "
                    f"{silent_s:.1f} s ago: give each its own name by `instance`, or stop that one"
                )
            await asyncio.sleep(LOOK_S)
        self._me = name

    async def look(self, clear_ms: int | None = None) -> HeardOf:
        """See `Sharing.look`. While a process runs, everything may mend but a lost name."""
        try:
            return await self._worker.done(lambda: self._look(clear_ms))
        except NameTaken:
            raise
        except LedgerError as error:
            raise LedgerUnavailable(str(error)) from error

    async def news(self, known: HeardOf) -> News:
        """See `Sharing.news`."""
        return await answer_of(self._news, known)

    async def leave(self) -> None:
        """See `Sharing.leave`."""
        if self._me:
            await self._worker.done(lambda: self._say(InstanceState.LEFT))

    @contextmanager
    def one_state(self) -> Iterator[BookState]:
        """See `Sharing.one_state`."""
        with self._reading.reading() as connection:
            writers = [Writer(*row) for row in connection.execute(_WRITERS)]
            yield BookState(PostgresReader(self._url, OneState(connection, self.name)), writers)

    async def instances(self) -> list[Instance]:
        """See `Sharing.instances`."""
        return await answer_of(self._instances)

    async def forget(self, name: str) -> Instance | None:
        """See `Sharing.forget`."""
        found = {one.name: one for one in await self.instances()}.get(name)
        if found is not None and found.state is not InstanceState.LIVE:
            await self._worker.done(lambda: self._forget(name))
        return found

    async def take_over(self, name: str, home: str = "") -> bool:
        """See `Sharing.take_over`."""
        return await self._worker.done(lambda: self._take_over(name, home))

    async def settled(self, name: str) -> None:
        """See `Sharing.settled`. A process that has come back meanwhile has another boot."""
        await self._worker.done(lambda: self._settled(name))

    async def aclose(self) -> None:
        """End the connection; what hangs is given up."""
        await self._worker.close(self._close)

    # On the worker's thread.

    def _take(self, name: str, home: str) -> float | None:
        """Take the name; else for how long its process has been silent."""
        with self._use() as connection, connection.transaction():
            row = connection.execute(_FOUND, (name,)).fetchone()
            if row is not None:
                _, its_home, state, silent_s = row
                if state == InstanceState.LIVE and its_home != home and silent_s < LAPSE_S:
                    return float(silent_s)
            connection.execute(_ARRIVE, {"name": name, "boot": self._boot, "home": home})
        return None

    def _look(self, clear_ms: int | None) -> HeardOf:
        # What was written while there was no connection is told by none.
        lost = self._connection is None or self._connection.closed
        with self._use() as connection:
            for _ in connection.notifies(timeout=0.0 if lost else LOOK_S, stop_after=1):
                pass
            if time.monotonic() - self._beat_s >= BEAT_S and self._me:
                self._beat(connection, InstanceState.LIVE, clear_ms)
            [version, credits] = _one(connection.execute(_VERSIONS).fetchone())
            return HeardOf(version, credits)

    def _say(self, state: InstanceState) -> None:
        with self._use() as connection:
            self._beat(connection, state)

    def _beat(
        self, connection: Connection, state: InstanceState, clear_ms: int | None = None
    ) -> None:
        beat = (state.value, clear_ms, self._me, self._boot)
        mine = connection.execute(_BEAT, beat).fetchone()
        if mine is None:
            raise NameTaken(
                f"another process has taken the name {self._me!r}: give each its own by `instance`"
            )
        self._beat_s = time.monotonic()

    def _forget(self, name: str) -> None:
        with self._use() as connection, connection.transaction():
            row = connection.execute(_FOUND, (name,)).fetchone()
            if row is not None and (row[2] != InstanceState.LIVE or row[3] >= LAPSE_S):
                connection.execute(_FORGET, (name, row[0]))

    def _take_over(self, name: str, home: str) -> bool:
        with self._use() as connection, connection.transaction():
            row = connection.execute(_FOUND, (name,)).fetchone()
            if row is not None:
                _, its_home, state, silent_s = row
                if state == InstanceState.LIVE and its_home != home and silent_s < LAPSE_S:
                    return False
            connection.execute(_TAKE_OVER, (self._boot, name))
        return True

    def _settled(self, name: str) -> None:
        with self._use() as connection:
            connection.execute(_SETTLED, (name, self._boot))

    @contextmanager
    def _use(self) -> Iterator[Connection]:
        """The connection; one that breaks is made again at the next use."""
        if self._connection is None or self._connection.closed:
            self._connection = _listening(self._url, self.name)
        try:
            yield self._connection
        except psycopg.Error as error:
            self._close()
            raise meant(error, self.name) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # From other threads.

    def _cut(self) -> None:
        cut(self._connection)

    def _news(self, known: HeardOf) -> News:
        with self._reading.reading() as connection:
            [version, credits] = _one(connection.execute(_VERSIONS).fetchone())
            rows = connection.execute(_NEWER, (known.tenants,)).fetchall()
            return News(
                HeardOf(version, credits),
                [_MANAGED.decode(doc) for (doc,) in rows],
                after(connection, known.credits),
            )

    def _instances(self) -> list[Instance]:
        with self._reading.reading() as connection:
            return [_instance(row) for row in connection.execute(_ALL)]


def _listening(url: str, name: str) -> Connection:
    connection = opened(url, writes=True)
    try:
        with answering(connection, ANSWER_MAX_S):
            connection.execute(f"LISTEN {CHANNEL}")
    except psycopg.Error as error:
        connection.close()
        raise meant(error, name) from error
    return connection


def connect_sharing(url: str) -> PostgresSharing:
    """See `proxy.ledger.sharing.connect_sharing`. Raises LedgerError for a URL that is none."""
    return PostgresSharing(url)


def _instance(row: tuple[Any, ...]) -> Instance:
    name, state, started_at_ms, seen_at_ms, silent_s, home, clear_ms = row
    lapsed = state == InstanceState.LIVE and silent_s >= LAPSE_S
    shown = InstanceState.LAPSED if lapsed else InstanceState(state)
    return Instance(name, shown, started_at_ms, seen_at_ms, round(silent_s, 1), home, clear_ms)


def _one(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    assert row is not None, "an aggregate is one row"
    return row
