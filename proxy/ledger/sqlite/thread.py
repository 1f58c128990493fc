"""Runs whole functions on the thread of an aiosqlite connection, one hop each.

aiosqlite takes each statement to its thread by itself, which is 15 times slower for a batch of
records. So the connection it opens here is a subclass, by sqlite3's `factory`, which takes a
function in the place of a statement; `execute_fetchall` brings it there like any other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

_T = TypeVar("_T")

_CALL = "call a function"  # no SQL: a connection of another class refuses it


class _Returned(sqlite3.Cursor):
    """What a function returned, as the one row of a result."""

    def __init__(self, connection: sqlite3.Connection, value: object) -> None:
        super().__init__(connection)
        self._value = value

    def fetchall(self) -> list[Any]:
        return [self._value]


class _CallingConnection(sqlite3.Connection):
    """A connection that also runs functions: `execute(_CALL, [function])`."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql is _CALL:
            [function] = parameters
            return _Returned(self, function(self))
        return super().execute(sql, parameters)


async def open_on_a_thread(path: Path, *, busy_timeout_s: float) -> aiosqlite.Connection:
    """A connection in autocommit mode, on a thread of its own. Raises sqlite3.Error."""
    return await aiosqlite.connect(
        path,
        isolation_level=None,
        timeout=busy_timeout_s,
        cached_statements=32,
        factory=_CallingConnection,
    )


async def on_its_thread(
    connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], _T]
) -> _T:
    """What the function returns, run on the connection's thread after all that was asked before."""
    rows: Iterable[Any] = await connection.execute_fetchall(_CALL, [function])
    [value] = rows
    found: _T = value
    return found
