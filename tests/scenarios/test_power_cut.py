"""A power cut drops what was written and not synced, of each file for itself. The book stays right.

One scripted life of journal and ledger is recorded write by write. Then every state that a cut
could have left on the disk is laid out and started again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.config.price_terms import price_book_of
from proxy.config.settings import MetricsSettings, Price, Settings
from proxy.core.entries import Marked, Opened, Voided
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.settlement import RECOVERY
from proxy.core.usage import Source
from proxy.journal import Journal
from proxy.journal.disk import SystemDisk
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.ledger import Ledger, connect
from proxy.ledger.sealing_key import read_key
from proxy.ledger.sqlite.verify import verify_chain
from proxy.metrics.collector import Metrics
from tests.ledger.samples import START_MS, make_id, make_record
from tests.support.journals import journal_options
from tests.support.waiting import GUARD_S

OPTIONS = journal_options(segment_bytes=SEGMENT_BYTES_MIN)
PRICES = price_book_of(Settings(prices=(Price(model="deepseek-v3.2", input="0.5", output="2"),)))
WAL = "ledger.db-wal"
ENDS = {
    make_id(0): make_record(0, output_tokens=700),
    make_id(1): make_record(1, output_tokens=9),
    make_id(3): make_record(3, source=Source.ESTIMATED, output_source=Source.ESTIMATED),
}
_PLACED = ("seq", "booked_at_ms", "prev_hash", "hash")
_SHOWN = [name for name in COLUMNS if name not in _PLACED]
ORIGIN, OUTPUT = _SHOWN.index("origin"), _SHOWN.index("output_tokens")
Row = tuple[Any, ...]


class WatchedDisk(SystemDisk):
    """Keeps every write by file, and how many of them a sync has made durable."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: dict[str, list[tuple[int, bytes]]] = {}
        self.synced: dict[str, int] = {}

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:  # type: ignore[override]
        self.writes.setdefault(_name(fd), []).append((offset, bytes(data)))
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int, /) -> None:  # type: ignore[override]
        count = len(self.writes.get(_name(fd), ()))
        os.fdatasync(fd)
        self.synced[_name(fd)] = count


class Moment:
    """What stood on the disk at one step: whole ledger files, and each segment write by write."""

    def __init__(self, directory: Path, disk: WatchedDisk, aside: Path, wal_synced: int) -> None:
        self.aside = aside
        shutil.copytree(directory, aside)
        self.writes = {name: list(writes) for name, writes in disk.writes.items()}
        self.synced = dict(disk.synced)
        wal = aside / WAL
        self.wal_lengths = list(range(wal_synced, wal.stat().st_size + 1)) if wal.exists() else [0]

    def cuts(self) -> Iterator[tuple[dict[str, int], int]]:
        """Each way to drop unsynced writes: how many of each segment stay, and the WAL's length."""
        directory = self.aside / "journal" / "w0"
        names = sorted(name for name in self.writes if (directory / name).exists())
        kept = [range(self.synced.get(name, 0), len(self.writes[name]) + 1) for name in names]
        lengths = [*self.wal_lengths[::797], self.wal_lengths[-1]]
        for *counts, length in itertools.product(*kept, lengths):
            yield dict(zip(names, counts, strict=True)), length

    def lay_out(self, target: Path, kept: dict[str, int], wal_length: int) -> None:
        """The directory as that cut leaves it."""
        shutil.copytree(self.aside, target)
        for name, count in kept.items():
            path = target / "journal" / "w0" / name
            size = path.stat().st_size
            path.write_bytes(b"")
            os.truncate(path, size)
            with path.open("r+b") as file:
                for offset, data in self.writes[name][:count]:
                    file.seek(offset)
                    file.write(data)
        (target / "ledger.db-shm").unlink(missing_ok=True)
        if (target / WAL).exists():
            os.truncate(target / WAL, wal_length)


def _name(fd: int) -> str:
    return Path(f"/proc/self/fd/{fd}").readlink().name


def opening(n: int) -> Opened:
    return Opened(
        id=make_id(n), started_at_ms=START_MS, key_id="alice", team="research",
        endpoint="/v1/chat/completions", upstream="modelmax", model_requested="deepseek-v3.2",
        input_estimate=40,
    )  # fmt: skip


def make_recorder(journal: Journal, ledger: Ledger) -> Recorder:
    metrics = Metrics(MetricsSettings(), "1")
    return Recorder(journal, ledger, metrics, EndUsers("off", b"", {}), PRICES)


async def recorded_life(root: Path) -> list[Moment]:
    """One life with every kind of step: open, mark, end, void, sync, book, a new segment."""
    directory, moments = root / "life", list[Moment]()
    disk = WatchedDisk()
    ledger = await connect("sqlite:ledger.db", directory)
    journal = Journal.claim(directory / "journal", OPTIONS, disk=disk)
    recorder = make_recorder(journal, ledger)
    await recorder.recover()
    wal_synced = 0

    def wal_size() -> int:
        return (directory / WAL).stat().st_size if (directory / WAL).exists() else 0

    async def step(*actions: Callable[[], object]) -> None:
        for action in actions:
            action()
            moments.append(Moment(directory, disk, root / f"moment{len(moments)}", wal_size()))

    async def book() -> None:
        """A commit is synced when it returns, so only its own bytes can be cut, while it runs."""
        nonlocal wal_synced
        before = wal_size()
        running = asyncio.create_task(recorder.run())
        assert await recorder.drain(GUARD_S)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        moments.append(Moment(directory, disk, root / f"moment{len(moments)}", before))
        moments.append(Moment(directory, disk, root / f"moment{len(moments)}", wal_size()))

    await step(
        lambda: journal.open(opening(0)),
        lambda: journal.open(opening(1)),
        lambda: journal.mark(Marked(id=make_id(0), output_tokens=512, status=200)),
    )
    assert await journal._syncer.join()
    await step(
        lambda: journal.open(opening(2)),
        lambda: journal.close(ENDS[make_id(0)]),
        lambda: journal.mark(Marked(id=make_id(1), output_tokens=512, status=200)),
        journal._appender.roll,
        lambda: journal.close(ENDS[make_id(1)]),
    )
    await book()  # what is booked here was never synced in the journal
    await step(
        lambda: journal.void(Voided(id=make_id(2), reason="nothing was sent")),
        lambda: journal.open(opening(3)),
        lambda: journal.close(ENDS[make_id(3)]),
    )
    assert await journal._syncer.join()
    await book()
    await journal.aclose()
    await ledger.aclose()
    return moments


def booked(directory: Path) -> dict[str, list[Row]]:
    """Every row of the book but for its place in it, by the id of what was used."""
    connection = sqlite3.connect(directory / "ledger.db")
    try:
        query = f"SELECT ifnull(adjusts, id), {', '.join(_SHOWN)} FROM records ORDER BY seq"
        rows = connection.execute(query)
        found: dict[str, list[Row]] = {}
        for id, *row in rows:
            found.setdefault(id, []).append(tuple(row))
        return found
    except sqlite3.OperationalError:  # the cut came before the first table
        return {}
    finally:
        connection.close()


async def restart(directory: Path) -> int:
    """A whole start and stop, as the process does it; how many requests it says it recovered."""
    ledger = await connect("sqlite:ledger.db", directory)
    journal = Journal.claim(directory / "journal", OPTIONS)
    recorder = make_recorder(journal, ledger)
    recovered = await recorder.recover()
    running = asyncio.create_task(recorder.run())
    try:
        assert await recorder.drain(GUARD_S)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await journal.aclose()
        await ledger.aclose()
    return recovered


async def check(moment: Moment, kept: dict[str, int], wal_length: int, target: Path) -> None:
    moment.lay_out(target, kept, wal_length)
    look = target.with_name("look")  # reading a database with a WAL changes it
    shutil.copytree(target, look)
    before = booked(look)
    for _ in range(2):  # the second start finds nothing left to do
        recovered = await restart(target)
        after = booked(target)
        for id, rows in before.items():
            assert after[id] == rows, "what was booked stands, and nothing is added to it"
        assert all(len(rows) == 1 for rows in after.values()), "each exchange has one record"
        new = [rows[0] for id, rows in after.items() if id not in before]
        assert recovered == sum(row[ORIGIN] == RECOVERY for row in new), "only they are told of"
        for id, (row,) in after.items():
            from_marks = row[ORIGIN] == RECOVERY
            assert from_marks or row[OUTPUT] == ENDS[id].output_tokens, "an end is booked as it was"
        before = after
    assert not verify_chain(target / "ledger.db", read_key(target / "ledger.key")).problems
    shutil.rmtree(target)
    shutil.rmtree(look)


async def cut_everywhere(root: Path, at_most: int | None) -> int:
    moments = await recorded_life(root)
    cases = [(moment, kept, length) for moment in moments for kept, length in moment.cuts()]
    if at_most is not None and len(cases) > at_most:
        cases = random.Random(4).sample(cases, at_most)
    for moment, kept, length in cases:
        await check(moment, kept, length, root / "cut")
    return len(cases)


async def test_a_power_cut_makes_no_record_less_certain_and_doubles_none(tmp_path: Path) -> None:
    assert await cut_everywhere(tmp_path, 60) == 60


@pytest.mark.campaign
async def test_every_power_cut_of_the_scripted_life(tmp_path: Path) -> None:
    assert await cut_everywhere(tmp_path, None) > 100
