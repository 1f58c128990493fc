"""A sealed month leaves the book behind a checkpoint: all of it or nothing, and sums stay."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.ledger import Batch, connect, sqlite
from proxy.ledger.archives import ArchiveOrder
from proxy.ledger.backups import back_up
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.archive import archives
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.pruning import prune, totals
from proxy.ledger.sqlite.rebuild import rebuild
from proxy.server.failpoints import Failpoints
from tests.ledger.old_months import BY, DEED, FORCED, LATER_MS
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book
from tests.ledger.whole_book import (
    DAY_MS,
    forger_of,
    seal_all,
    verified,
    whole_book,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A book of November and December 2026, both sealed; a price of November came in December."""
    made = whole_book(tmp_path)
    seal_all(made)
    return made


def opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def order_of(connection: sqlite3.Connection, month: str = "2026-11") -> ArchiveOrder:
    first, last, root = connection.execute(
        "SELECT first_seq, seq, root FROM months WHERE month = ?", (month,)
    ).fetchone()
    return ArchiveOrder(
        month=month,
        first_seq=first,
        last_seq=last,
        root=root.hex(),
        file=f"ledger-{month}.parquet",
        bytes=4711,
        sha256="ab" * 32,
        totals=totals(connection, last),
        forced=FORCED,
    )


def pruned(path: Path, of: str = "2026-11", **changes: Any) -> int:
    """Archives the month; the last seq of it."""
    with opened(path) as connection:
        order = msgspec.structs.replace(order_of(connection, of), **changes)
        book = Booker(connection, KEY, lambda: LATER_MS)
        book.transaction(lambda: prune(connection, KEY, order, DEED, LATER_MS))
        return order.last_seq


def told(path: Path) -> list[Any]:
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    return [reader.usage(by, None, None, UTC) for by in BY]


def everything(path: Path) -> dict[str, list[Any]]:
    with opened(path) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}
        found["schema"] = connection.execute("SELECT * FROM sqlite_schema").fetchall()
        return found


def test_a_missing_checkpoint_of_an_earlier_month_is_found(path: Path) -> None:
    with opened(path) as connection:
        now_ms = START_MS + 100 * DAY_MS
        closes = numbered(make_record(700, started_at_ms=now_ms), after=99)
        Booker(connection, KEY, lambda: now_ms).book(Batch("w0", closes))
    pruned(path)
    assert pruned(path, "2026-12") == 33 and not verified(path).findings
    forger = forger_of(path)
    forger.execute("DELETE FROM checkpoints WHERE seq < 33")
    forger.close()
    [flaw] = verified(path).findings
    assert "archive of 2026-11: there is no checkpoint" in flaw.what


@pytest.mark.parametrize("lost", ["bucket_ms = (SELECT min(bucket_ms) FROM kept)", "true"])
def test_roll_ups_of_an_archived_month_that_are_gone_are_found(path: Path, lost: str) -> None:
    """The book has neither its records nor its roll-ups any more, and what is kept tells it."""
    pruned(path)
    forger = forger_of(path)
    forger.execute("CREATE TEMP TABLE kept AS SELECT * FROM archived_sums")
    forger.execute(f"DELETE FROM archived_sums WHERE {lost}")
    rebuild(forger)
    forger.execute("DELETE FROM archived_sums")
    forger.execute("INSERT INTO archived_sums SELECT * FROM kept")
    forger.close()
    assert {flaw.part for flaw in verified(path).findings} == {"rollups"}


def test_a_backup_has_the_archive_too(path: Path) -> None:
    pruned(path)
    copy = path.with_name("copy.db")
    back_up("sqlite:ledger.db", path.parent, copy, key_file=path.with_name("ledger.key"))
    assert told(copy) == told(path)


def test_the_triggers_stand_again(path: Path) -> None:
    before = everything(path)["schema"]
    pruned(path)
    assert sorted(row[1] for row in everything(path)["schema"]) == sorted(row[1] for row in before)
    with opened(path) as connection:
        for table in ("records", "heads", "archives", "archived_sums", "checkpoints"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(f"DELETE FROM {table}")


CHILD = """
import asyncio, sys
from pathlib import Path
from proxy.ledger import connect, sqlite
from proxy.ledger.sqlite.rebuild import rebuild
from proxy.server.failpoints import Failpoints
from tests.ledger.sqlite.test_pruning import DEED, LATER_MS, opened, order_of

sqlite._wall_clock_ms = lambda: LATER_MS

async def main(path, spec):
    with opened(path) as connection:
        order = order_of(connection)
    ledger = await connect(f"sqlite:{path.name}", path.parent, fail=Failpoints(spec))
    try:
        await ledger.archive(order, DEED)
    finally:
        await ledger.aclose()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.parametrize("point", ["before", "inside", "after"])
def test_killed_at_each_step_all_of_it_is_done_or_nothing(path: Path, point: str) -> None:
    sums, before = told(path), everything(path)
    spec = f"ledger.book.{point}=kill"
    done = subprocess.run([sys.executable, "-c", CHILD, path, spec], check=False)
    assert done.returncode == -9
    if point == "after":
        with opened(path) as connection:
            assert len(archives(connection)) == 1
    else:
        assert everything(path) == before
        pruned(path)
    assert told(path) == sums and not verified(path).findings


async def test_a_full_disk_leaves_the_month_in_the_book(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_wall_clock_ms", lambda: LATER_MS)
    with opened(path) as connection:
        order = order_of(connection)
    before = everything(path)
    fail = Failpoints("ledger.book.inside=enospc")
    ledger = await connect("sqlite:ledger.db", path.parent, fail=fail)
    try:
        with pytest.raises(Exception, match="No space"):
            await ledger.archive(order, DEED)
    finally:
        await ledger.aclose()
    assert everything(path) == before


def test_sums_beyond_63_bits_stay_when_their_records_leave(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    (tmp_path / "ledger.key").write_text(KEY.hex())
    for start in range(0, 320, 64):
        huge = [
            make_record(
                start + n, charge_nano=2**56 - n, cost_nano=-(2**56), currency="VND",
                input_tokens=2**56, inconsistent=n == 5,
            )
            for n in range(64)
        ]  # fmt: skip
        book.book(Batch("w0", numbered(*huge, after=start)))
    at_ms = START_MS + 60 * DAY_MS
    later = Booker(connection, KEY, lambda: at_ms)
    later.book(Batch("w0", numbered(make_record(900, started_at_ms=at_ms), after=320)))
    connection.close()
    path = tmp_path / "ledger.db"
    seal_all(path)
    before = told(path)
    pruned(path)
    assert told(path) == before and not verified(path).findings
    with opened(path) as connection:
        [archive] = archives(connection)
        rebuild(connection)
    assert archive.totals.costs == {"VND": -320 * 2**56}
    assert archive.totals.input_tokens == 320 * 2**56
    assert told(path) == before and not verified(path).findings
