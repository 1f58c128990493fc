"""What was synced is durable; what could not be is written again elsewhere, and those who wait are
told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.core.fault_points import no_fault
from proxy.journal import Journal, JournalUnavailable, recover
from proxy.journal import frames as f
from proxy.journal.appender import Appender
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.journal.segments import Segment
from proxy.journal.syncing import Syncer
from tests.journal.builders import (
    SMALL,
    BadDisk,
    all_closes,
    bare_tape,
    disk_error,
    entries,
    marked,
    opened,
    record,
    running,
    state,
    until,
    voided,
)
from tests.support.journals import journal_options

ALWAYS = journal_options(sync="always", interval_s=0.001, segment_bytes=SEGMENT_BYTES_MIN)


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def synced_tape(
    directory: Path, disk: BadDisk, threads: Executor, over: bytes | None = None
) -> tuple[Appender, Syncer]:
    """An appender and what syncs it. An entry that says `over` no longer matters once its segment is
    lost."""

    def leave(segment: Segment) -> None:
        syncer.leave(segment)

    def rewrite(kind: int, payload: bytes) -> None:
        if payload != over:
            appender.put(kind, payload, keep=True)

    appender = bare_tape(directory, disk, leave)
    syncer = Syncer(appender, disk, no_fault, threads, rewrite)
    return appender, syncer


async def test_a_round_covers_what_was_left_too_and_lets_it_go(
    tmp_path: Path, threads: Executor
) -> None:
    disk = BadDisk()
    appender, syncer = synced_tape(tmp_path, disk, threads)
    assert await syncer.join()
    assert (syncer.synced_seq, syncer.due) == (0, False)
    appender.put(f.OPEN, b"a")
    left = appender.segment
    assert appender.roll()
    appender.put(f.OPEN, b"b")
    assert syncer.due
    syncs = disk.syncs
    assert await syncer.join()
    assert (syncer.synced_seq, syncer.due, disk.syncs - syncs, left.fd) == (2, False, 2, -1)
    appender.close()


async def test_what_is_written_during_a_round_is_not_taken_for_durable(
    tmp_path: Path, threads: Executor
) -> None:
    class WrittenMeanwhile(BadDisk):
        def fdatasync(self, fd: int, /) -> None:  # type: ignore[override]
            appender.put(f.OPEN, b"b")
            super().fdatasync(fd)

    disk = WrittenMeanwhile()
    appender, syncer = synced_tape(tmp_path, disk, threads)
    appender.put(f.OPEN, b"a")
    assert await asyncio.gather(syncer.join(), syncer.join()) == [True, True]
    assert (syncer.synced_seq, syncer.due, disk.syncs) == (1, True, 1)
    appender.close()


async def test_only_what_was_not_synced_is_written_again_and_trouble_lasts_until_it_works(
    tmp_path: Path, threads: Executor
) -> None:
    disk = BadDisk()
    appender, syncer = synced_tape(tmp_path, disk, threads, over=b"over")
    lost = appender.segment
    appender.put(f.OPEN, b"durable")
    assert await syncer.join()
    for kind, payload in ((f.MARK, b"lost"), (f.OPEN, b"over"), (f.CLOSE, b"lost too")):
        appender.put(kind, payload)
    disk.sync_error = disk_error()
    assert not await syncer.join()
    assert (syncer.failures, syncer.synced_seq, appender.segment.number) == (1, 1, 2)
    assert "could not be synced" in str(syncer.trouble)
    assert lost.fd == -1, "the lost segment is never written or synced again"
    disk.sync_error = None
    assert await syncer.join()
    assert (syncer.synced_seq, syncer.trouble, syncer.due) == (6, None, False)
    appender.close()
    assert entries(tmp_path)[4:] == [(f.MARK, 5, b"lost"), (f.CLOSE, 6, b"lost too")]


async def test_with_nowhere_to_go_the_lost_entries_are_kept_in_mind(
    tmp_path: Path, threads: Executor
) -> None:
    disk = BadDisk()
    appender, syncer = synced_tape(tmp_path, disk, threads)
    appender.put(f.CLOSE, b"lost")
    disk.sync_error = disk.allocate_error = disk_error()
    assert not await syncer.join()
    disk.sync_error = None
    assert not await syncer.join(), (
        "the failed segment is not asked again, even if it would say yes"
    )
    assert (syncer.due, syncer.synced_seq) == (True, -1)
    disk.allocate_error = None
    assert await syncer.join()
    assert syncer.synced_seq == 2
    appender.close()
    assert entries(tmp_path) == [(f.CLOSE, 1, b"lost"), (f.CLOSE, 2, b"lost")]


async def test_a_segment_that_fails_with_nothing_new_in_it_is_due_all_the_same(
    tmp_path: Path, threads: Executor
) -> None:
    disk = BadDisk()
    appender, syncer = synced_tape(tmp_path, disk, threads)
    assert await syncer.join()
    disk.sync_error = disk.allocate_error = disk_error()
    assert not await syncer.join()
    assert syncer.due
    appender.close()


async def test_a_failed_sync_leaves_the_segment_and_writes_its_entries_again(
    tmp_path: Path,
) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        for id in ("early", "kept", "ended", "taken back"):
            journal.open(opened(id))
            await until(lambda: journal._syncer.synced_seq == journal.position)
        lost = journal._appender.segment
        disk.sync_error = disk_error()
        journal.mark(marked("kept"))
        journal.open(opened("fresh"))
        journal.close(record("ended"))
        journal.void(voided("taken back"))
        await until(lambda: not journal.ready)
        assert "could not be synced" in str(journal.why_not_ready)
        assert journal._appender.segment is not lost
        with pytest.raises(JournalUnavailable, match="could not be synced"):
            journal.open(opened("refused"))
        journal.close(record("early"))  # endings go on
        disk.sync_error = None
        await until(lambda: journal.ready)
        assert journal.sync_failures > 0
        expected = (["kept", "fresh"], ["ended", "ended", "early"])
        assert state(journal)[0] == expected[0]
        assert set(state(journal)[1]) == {"ended", "early"}
        # Now as after a power cut: what was not synced in the lost segment is gone.
        with lost.path.open("r+b") as file:
            file.truncate(lost.synced)
        found = recover(journal.directory)
        assert [(exchange.id, marks) for exchange, marks in found.unresolved] == [
            ("kept", [marked("kept")]),
            ("fresh", []),
        ]
        assert {closed.id for _, closed in all_closes(journal.directory, 10**9)} == {
            "ended",
            "early",
        }


async def test_always_waits_for_the_disk_and_shares_rounds(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal.claim(tmp_path, ALWAYS, disk=disk)  # without its loops: only the waiters sync
    for number in range(50):
        journal.open(opened(f"x{number}"))
    await asyncio.gather(*(journal.synced() for _ in range(50)))
    assert (journal._syncer.synced_seq, disk.syncs) == (50, 1)
    waiting = asyncio.create_task(journal.synced())
    journal.close(record("x0"))
    during = asyncio.create_task(journal.synced())
    await asyncio.gather(waiting, during)
    assert journal._syncer.synced_seq == 51
    await journal.aclose()


async def test_always_tells_its_waiters_of_a_disk_that_fails(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal.claim(tmp_path, ALWAYS, disk=disk)
    journal.open(opened("a"))
    disk.sync_error = disk_error()
    with pytest.raises(JournalUnavailable, match="could not be synced"):
        await journal.synced()
    disk.sync_error = None
    await journal.synced()
    assert journal.ready
    journal.close(record("a"))
    await journal.synced()
    await journal.aclose()


async def test_interval_makes_nobody_wait(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal.claim(tmp_path, SMALL, disk=disk)
    journal.open(opened("a"))
    await journal.synced()
    assert disk.syncs == 0
    await journal.aclose()
    assert disk.syncs == 1
