"""The ledger as the process uses it: opened, locked, surviving what happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.ledger import (
    Batch,
    Booked,
    LedgerError,
    LedgerUnavailable,
    Refusal,
    connect,
    connect_reader,
)
from proxy.ledger.sealing_key import read_key
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.sqlite.verify import verify_chain
from proxy.ledger.verifying import Verified
from tests.ledger.samples import make_record, numbered, open_book, rows

URL = "sqlite:ledger.db"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    ledger = await connect(URL, tmp_path)
    assert isinstance(ledger, SqliteLedger)
    yield ledger
    await ledger.aclose()


@pytest.fixture
def foreign(tmp_path: Path, ledger: SqliteLedger) -> Iterator[sqlite3.Connection]:
    """Some other tool that has the file open for writing."""
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, timeout=0)
    yield connection
    connection.close()


async def test_a_commit_is_synced_to_the_disk(ledger: SqliteLedger) -> None:
    assert list(await ledger._connection.execute_fetchall("PRAGMA cache_size")) == [(-2048,)]
    settings = await ledger._connection.execute_fetchall("PRAGMA synchronous")
    mode = await ledger._connection.execute_fetchall("PRAGMA journal_mode")
    assert [*map(tuple, settings), *map(tuple, mode)] == [(2,), ("wal",)]


async def test_files_are_private(tmp_path: Path, ledger: SqliteLedger) -> None:
    await ledger.book(Batch("w0", numbered(make_record(0))))
    assert {
        entry.name: entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()
    } == dict.fromkeys(
        ("ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.lock", "ledger.key"), 0o600
    )


async def test_a_second_process_is_refused_with_the_reason_and_harms_nothing(
    tmp_path: Path, ledger: SqliteLedger
) -> None:
    program = f"import asyncio; from pathlib import Path; from proxy.ledger import connect; asyncio.run(connect({URL!r}, Path({str(tmp_path)!r})))"
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert f"is in use by process {os.getpid()}: one process writes a ledger" in second.stderr
    assert await ledger.book(Batch("w0", numbered(make_record(0)))) == Booked(1, 0, 0)


@pytest.mark.parametrize(
    "url",
    [
        "queries:x",
        "canonical:x",
        "no scheme",
        "",
        "sqlite",
        "../x:y",
        "os:x",
    ],
)
async def test_an_unknown_kind_of_ledger_is_refused_with_an_example(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(LedgerError, match=r"sqlite:ledger\.db"):
        await connect(url, tmp_path)


async def test_a_failed_opening_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"certainly no database at all " * 200)
    for _ in range(2):
        with pytest.raises(LedgerError, match="file is not a database"):
            await connect(URL, tmp_path)
    (tmp_path / "ledger.db").unlink()
    await (await connect(URL, tmp_path)).aclose()


async def test_a_newer_ledger_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    connection, _ = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(LedgerError, match="schema version 99"):
        await connect(URL, tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert not (tmp_path / "ledger.key").exists()


async def test_a_directory_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot make the directory"):
        await connect(URL, tmp_path / "file" / "var")


async def test_a_locked_database_is_unavailable_and_takes_the_batch_later(
    ledger: SqliteLedger, foreign: sqlite3.Connection
) -> None:
    await ledger._connection.execute("PRAGMA busy_timeout = 1")
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked"):
        await ledger.book(Batch("w0", numbered(make_record(0))))
    foreign.execute("ROLLBACK")
    assert await ledger.book(Batch("w0", numbered(make_record(0)))) == Booked(1, 0, 0)


async def test_a_full_database_is_unavailable_and_takes_the_batch_later(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    await ledger._connection.execute(
        "PRAGMA max_page_count = 1"
    )  # the least SQLite accepts is what the file has now
    batch = numbered(*(make_record(n, tags={"env": "x" * 2000}) for n in range(64)))
    with pytest.raises(LedgerUnavailable, match="full"):
        await ledger.book(Batch("w0", batch, refusals=[Refusal(0, "a", "x", 1)]))
    assert await ledger.position("w0") == 0
    await ledger._connection.execute("PRAGMA max_page_count = 1000000")
    assert await ledger.book(Batch("w0", batch, refusals=[Refusal(0, "a", "x", 1)])) == Booked(
        64, 0, 0
    )
    assert connect_reader(URL, tmp_path).status().records == 64


async def test_a_damaged_database_is_unavailable(ledger: SqliteLedger, tmp_path: Path) -> None:
    for start in range(0, 640, 64):
        await ledger.book(
            Batch("w0", numbered(*(make_record(start + n) for n in range(64)), after=start))
        )
    await ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await ledger._connection.execute("PRAGMA cache_size = 0")
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * (tmp_path / "ledger.db").stat().st_size)
    await ledger._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(LedgerUnavailable, match="malformed"):
        await ledger.book(Batch("w0", numbered(make_record(700))))


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_removed_or_replaced_in_use_takes_no_more_rows(
    ledger: SqliteLedger, tmp_path: Path, replaced: bool
) -> None:
    path = tmp_path / "ledger.db"
    aside = path.rename(tmp_path / "aside.db")
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(LedgerUnavailable, match="removed or replaced"):
        await ledger.book(Batch("w0", numbered(make_record(0))))
    aside.replace(path)
    assert await ledger.book(Batch("w0", numbered(make_record(0)))) == Booked(1, 0, 0)


BOOKER = """
import asyncio, sys
from pathlib import Path
from tests.ledger.samples import make_record, numbered
from proxy.ledger import Batch, connect

async def main(directory):
    ledger = await connect("sqlite:ledger.db", Path(directory))
    position = await ledger.position("w0")
    while True:
        batch = numbered(*(make_record(position + n, started_at_ms=1_793_500_000_000 + (position + n) * 9_000) for n in range(17)), after=position)
        await ledger.book(Batch("w0", batch))
        position += 17
        print(position, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.whole
@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.campaign)])
async def test_killed_at_any_moment_the_book_is_whole_and_a_replay_completes_it(
    tmp_path: Path, kills: int
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path]),
    }
    told = position = 0
    for n in range(kills):
        booker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            BOOKER,
            str(tmp_path),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert booker.stdout is not None
        for _ in range(3 + 5 * (n % 5)):  # then right inside some later batch
            told = int(await booker.stdout.readline())
        booker.send_signal(signal.SIGKILL)
        told = max([told, *map(int, (await booker.stdout.read()).split(b"\n")[:-1])])
        await booker.wait()
        position = await replayed(tmp_path, told, last=1000)
    assert await replayed(tmp_path, told, last=position) == position
    assert verify_chain(tmp_path / "ledger.db", read_key(tmp_path / "ledger.key")) == Verified(
        position, position // 17, 0, ()
    )


async def replayed(directory: Path, told: int, *, last: int) -> int:
    """Books the last records again: nothing that was told as booked is missing, and nothing counts
    twice. The position."""
    ledger = await connect(URL, directory)
    position = await ledger.position("w0")
    assert position >= told, "a batch that was told as booked is gone"
    again = numbered(
        *(
            make_record(n, started_at_ms=1_793_500_000_000 + n * 9_000)
            for n in range(max(0, position - last), position)
        )
    )
    for start in range(0, len(again), 64):
        await ledger.book(Batch("w0", again[start : start + 64], position=position))
    await ledger.aclose()
    connection = sqlite3.connect(directory / "ledger.db")
    assert rows(connection, "SELECT count(*), max(seq), sum(output_tokens) FROM records") == [
        (position, position, 20 * position)
    ]
    assert rows(connection, "SELECT sum(requests), sum(output_tokens) FROM rollups") == [
        (position, 20 * position)
    ]
    connection.close()
    return position
