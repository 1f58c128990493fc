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
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.managed import Audit
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, LedgerError, connect, sqlite
from proxy.ledger.archives import ArchiveOrder
from proxy.ledger.backups import back_up
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.archive import archives
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.dump import dumped
from proxy.ledger.sqlite.pruning import obstacles, prune, totals
from proxy.ledger.sqlite.rebuild import rebuild
from proxy.server.failpoints import Failpoints
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, open_book
from tests.ledger.whole_book import (
    DAY_MS,
    forger_of,
    reader_of,
    seal_all,
    verified,
    whole_book,
)
from tests.support.effort import examples

LATER_MS = START_MS + 120 * DAY_MS
DEED = Audit(
    at_ms=LATER_MS, actor="root", origin="x", action="ledger.archive", kind="ledger", name="2026-11"
)
FORCED = ("unpriced", "unclosed")
BY = [(), ("team", "key", "model", "upstream"), ("day", "model"), ("month",), ("hour", "team")]


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


def test_sums_of_the_archived_month_stay_and_the_book_verifies(path: Path) -> None:
    before = told(path)
    last = pruned(path)
    with opened(path) as connection:
        assert connection.execute("SELECT min(seq) FROM records").fetchone() == (last + 1,)
        [archive] = archives(connection)
    assert (archive.month, archive.first_seq, archive.last_seq) == ("2026-11", 1, last)
    assert archive.totals.records == last and archive.sha256 == "ab" * 32
    assert told(path) == before
    found = verified(path)
    assert not found.findings and found.through == 33
    with opened(path) as connection:
        rebuild(connection)
    assert told(path) == before and not verified(path).findings
    assert [entry.deed for entry in connect_reader("sqlite:ledger.db", path.parent).audit(0, 9)][
        -1
    ] == DEED


def test_the_next_month_goes_too_and_booking_goes_on(path: Path) -> None:
    with opened(path) as connection:
        now_ms = START_MS + 100 * DAY_MS
        closes = numbered(make_record(700, started_at_ms=now_ms), after=99)
        Booker(connection, KEY, lambda: now_ms).book(Batch("w0", closes))
    before = told(path)
    pruned(path)
    last = pruned(path, "2026-12")
    assert told(path) == before and not verified(path).findings
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (1,)
        closes = numbered(make_record(701, started_at_ms=now_ms), after=100)
        Booker(connection, KEY, lambda: LATER_MS).book(Batch("w0", closes))
        rebuild(connection)
    assert not verified(path).findings and last == 33
    forger = forger_of(path)
    forger.execute("DELETE FROM checkpoints WHERE seq < 33")
    forger.close()
    [flaw] = verified(path).findings
    assert "archive of 2026-11: there is no checkpoint" in flaw.what
    with pytest.raises(LedgerError, match="archived already"):
        pruned(path)


def test_a_ledger_with_archived_months_is_not_copied(path: Path) -> None:
    pruned(path)
    with (
        pytest.raises(LedgerError, match="2026-11 are archived"),
        dumped("sqlite:ledger.db", path.parent),
    ):
        raise AssertionError


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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"root": "00" * 32}, "other records than those sealed"),
        ({"last_seq": 5}, "not sealed like that"),
        ({"month": "2025-01"}, "not sealed like that"),
        ({"forced": ("unclosed",)}, "5 requests have no price"),
        ({"forced": ("unpriced",)}, "no closed statement"),
    ],
)
def test_what_stands_against_it_is_told_and_nothing_changes(
    path: Path, change: dict[str, Any], says: str
) -> None:
    before = everything(path)
    with pytest.raises(LedgerError, match=says):
        pruned(path, **change)
    assert everything(path) == before


def test_other_totals_and_a_later_month_are_refused(path: Path) -> None:
    with opened(path) as connection:
        wrong = msgspec.structs.replace(totals(connection, 24), input_tokens=0)
    with pytest.raises(LedgerError, match="other totals"):
        pruned(path, totals=wrong)
    with pytest.raises(LedgerError, match="begin with that"):
        pruned(path, "2026-12")


def test_open_windows_the_last_record_and_open_corrections_keep_a_month(path: Path) -> None:
    with opened(path) as connection:
        (last,) = connection.execute("SELECT seq FROM months WHERE month = '2026-11'").fetchone()
        assert obstacles(connection, last, LATER_MS, FORCED) == []
        [open_window] = obstacles(connection, last, START_MS + 40 * DAY_MS, FORCED)
        assert "a window of a month" in open_window
        [nothing_behind] = obstacles(connection, 33, LATER_MS, FORCED)
        assert "the last record of the book stays" in nothing_behind
        late = {"kind": "adjustment", "adjusts": make_id(1), "reason": "x", "cost_nano": None}
        book = Booker(connection, KEY, lambda: LATER_MS)
        book.adjust([make_record(901, **late, charge_nano=None, currency=None)])
        [correction] = obstacles(connection, last, LATER_MS, FORCED)
        assert "corrects one of it without an amount" in correction


CHILD = """
import asyncio, sys
from pathlib import Path
from proxy.ledger import connect, sqlite
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


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 89),  # the day of its booking
        st.integers(0, 3),  # days before it, on which it started
        st.sampled_from(["usage", "usage", "unpriced", "price", "correct"]),
        st.integers(0, 30),  # which one it corrects
    ),
    min_size=3,
    max_size=30,
)


@settings(max_examples=examples(10), deadline=None)
@given(RECORDS)
def test_whatever_was_booked_sums_stay_and_the_book_verifies(
    tmp_path_factory: pytest.TempPathFactory, some: list[tuple[int, int, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("book") / "ledger.db"
    (path.parent / "ledger.key").write_text(KEY.hex())
    connection, _ = open_book(path)
    booked: list[UsageRecord] = []
    for n, (day, ago, kind, which) in enumerate(sorted(some, key=lambda one: one[0])):
        now_ms = START_MS + day * DAY_MS
        book = Booker(connection, KEY, lambda now_ms=now_ms: now_ms)  # type: ignore[misc]
        priced = {"cost_nano": 10 + n, "charge_nano": 11 + n, "currency": ("USD", "CNY")[n % 2]}
        if kind in ("usage", "unpriced") or not booked:
            amounts = priced if kind == "usage" else {}
            record = make_record(
                n,
                started_at_ms=now_ms - ago * DAY_MS,
                inconsistent=n % 5 == 0,
                key_id=f"k{n % 2}",
                **amounts,
            )
            booked.append(record)
            book.book(Batch("w0", [(n + 1, record)]))
        else:
            target = booked[which % len(booked)]
            amounts = priced if kind == "price" else {"output_tokens": 1}
            change = msgspec.structs.replace(
                target,
                id=make_id(n),
                kind="adjustment",
                adjusts=target.id,
                reason="x",
                **{"cost_nano": None, "charge_nano": None, "currency": None, **amounts},
            )
            book.adjust([change])
    last_ms = START_MS + 95 * DAY_MS
    book = Booker(connection, KEY, lambda: last_ms)
    book.book(Batch("w0", [(1000, make_record(999, started_at_ms=last_ms))]))
    connection.close()
    seal_all(path, LATER_MS)
    before = told(path)
    with opened(path) as opened_one:
        months = [month for (month,) in opened_one.execute("SELECT month FROM months ORDER BY seq")]
    for month in months[:-1]:
        try:
            pruned(path, month)
        except LedgerError as error:
            assert "without an amount" in str(error) or "the last record" in str(error)
            break
        assert told(path) == before
        assert not verified(path).findings
    with opened(path) as opened_one:
        rebuild(opened_one)
    assert told(path) == before and not verified(path).findings
    assert reader_of(path).head() == len(some) + 1


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
