"""Whole functions on the database's thread, through nothing but aiosqlite's public names."""

from __future__ import annotations

import inspect
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.sqlite.thread import on_its_thread, open_on_a_thread


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connection = await open_on_a_thread(tmp_path / "x.db", busy_timeout_s=1.0)
    yield connection
    await connection.close()


async def test_a_function_is_one_hop_to_another_thread(opened: aiosqlite.Connection) -> None:
    here = threading.get_ident()
    there = await on_its_thread(opened, lambda _: threading.get_ident())
    assert there not in (here, None)
    assert await on_its_thread(opened, lambda _: threading.get_ident()) == there


async def test_it_has_the_connection_and_its_errors_come_back(
    opened: aiosqlite.Connection,
) -> None:
    def fill(connection: sqlite3.Connection) -> int:
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(5)])
        connection.execute("COMMIT")
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]

    assert await on_its_thread(opened, fill) == 5
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        await on_its_thread(opened, fill)
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        await opened.execute_fetchall("call a " + "function", [])
    assert await on_its_thread(opened, lambda _: None) is None


async def test_what_was_asked_first_is_done_first(opened: aiosqlite.Connection) -> None:
    done: list[int] = []
    asked = [on_its_thread(opened, lambda _, n=n: done.append(n)) for n in range(20)]
    for one in asked:
        await one
    assert done == list(range(20))


def test_one_module_knows_aiosqlite_and_by_public_names() -> None:
    root = Path(inspect.getfile(SqliteLedger)).parents[2]
    users = {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*.py")
        if "aiosqlite" in path.read_text()
    }
    assert sorted(users) == ["ledger/sqlite/__init__.py", "ledger/sqlite/thread.py"]
    for text in users.values():
        assert not re.search(r"connection\._|aiosqlite\._|\b_conn\b|\b_execute\b", text)
