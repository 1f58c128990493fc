"""A disk that refuses: nothing half-written is ever taken for an entry, no ended exchange is lost, and readiness says how it stands."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from proxy.failpoints import NAMES, Failpoints
from proxy.journal import Journal, JournalOptions, JournalUnavailable, Reader, recover
from proxy.journal import frames as f
from proxy.journal.options import SEGMENT_BYTES_MIN

from .builders import SMALL, BadDisk, all_closes, disk_error, marked, opened, record, running, until, voided

ALWAYS = JournalOptions(sync="always", interval_s=0.001, segment_bytes=SEGMENT_BYTES_MIN)


def kind_of(data: bytes) -> int | None:
    """The kind of a frame; None for zeros."""
    frame = f.frame_at(data, 0)
    return None if frame is None else frame.kind


def state(journal: Journal) -> tuple[list[str], list[str]]:
    """What a new process would find: ids still open, ids closed."""
    return (
        [exchange.id for exchange, _ in recover(journal.directory).unresolved],
        [closed.id for _, closed in all_closes(journal.directory, 10**9)],
    )


async def test_a_frame_cut_at_any_byte_is_written_whole_elsewhere(tmp_path: Path) -> None:
    """The short write is undone, and the entry goes into a fresh segment, for each length that can be cut off."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        length = journal._tape.segment.position  # a start frame and an opening: longer than the opening
        for kept in range(length):
            cuts = [kept]
            disk.on_write = lambda data, offset, cuts=cuts: cuts.pop() if cuts and kind_of(data) == f.OPEN else None  # type: ignore[misc]
            journal.open(opened(f"x{kept}"))
            disk.on_write = lambda data, offset: None
            journal.void(voided(f"x{kept}"))
        assert journal.failures >= length - 50
        found = recover(journal.directory)
        assert ([exchange.id for exchange, _ in found.unresolved], found.frames, found.skipped_bytes) == (["a"], 1 + 2 * length, 0)
        assert journal.ready


async def test_an_opening_cut_twice_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("before"))
        for kept in (0, 1, 4, 8, 20, 21, 100, 300):
            disk.on_write = lambda data, offset, kept=kept: kept if kind_of(data) == f.OPEN else None  # type: ignore[misc]
            with pytest.raises(JournalUnavailable, match="short write"):
                journal.open(opened("refused"))
            assert not journal.ready
            disk.on_write = lambda data, offset: None
            await until(lambda: journal.ready)
            assert state(journal) == (["before"], [])
        journal.open(opened("after"))
        assert (state(journal), journal.open_count) == ((["before", "after"], []), 2)
        assert recover(journal.directory).skipped_bytes == 0


async def test_an_opening_that_cannot_be_taken_back_is_voided(tmp_path: Path) -> None:
    """The write reports an error though all was written, and the disk takes no zeros either: recovery must not book what was refused."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        fd = journal._tape.segment.fd

        def written_but_refused(data: bytes, offset: int) -> OSError | None:
            if kind_of(data) == f.OPEN:
                os.pwrite(fd, data, offset)
            return disk_error()

        disk.on_write = written_but_refused
        with pytest.raises(JournalUnavailable):
            journal.open(opened("refused"))
        assert state(journal) == (["refused"], []), "the disk really kept it"
        disk.on_write = lambda data, offset: None
        await until(lambda: journal.ready)
        assert state(journal) == ([], [])
        journal.open(opened("next"))
        journal.close(record("next"))
        assert state(journal) == ([], ["next"])


async def test_endings_wait_in_their_order_while_nothing_can_be_written(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        reader = Reader(journal.directory)
        for id in ("a", "b", "c", "d"):
            journal.open(opened(id))
        disk.on_write = lambda data, offset: disk_error()
        assert journal.close(record("a")) == 5
        assert (journal.ready, journal.position, journal.open_count) == (False, 4, 3)
        journal.void(voided("b"))
        assert journal.close(record("c")) == 7
        with pytest.raises(JournalUnavailable, match="Input/output error"):
            journal.mark(marked("d"))
        with pytest.raises(JournalUnavailable, match="Input/output error"):
            journal.open(opened("e"))
        assert reader.closes(9, journal.position) == []
        disk.on_write = lambda data, offset: None
        await until(lambda: journal.ready)
        assert journal.position == 7
        assert [(seq, closed.id) for seq, closed in reader.closes(9, 7)] == [(5, "a"), (7, "c")]
        assert state(journal)[0] == ["d"]
        reader.close()


async def test_what_waits_is_written_at_the_end_at_the_latest(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal.claim(tmp_path, SMALL, disk=disk)
    journal.open(opened("a"))
    disk.on_write = lambda data, offset: disk_error()
    journal.close(record("a"))
    disk.on_write = lambda data, offset: None
    await journal.aclose()
    assert [closed.id for _, closed in all_closes(tmp_path / "w0", 10**9)] == ["a"]


async def test_a_failed_sync_leaves_the_segment_and_writes_its_entries_again(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        for id in ("early", "kept", "ended", "taken back"):
            journal.open(opened(id))
            await until(lambda: journal._syncer.synced_seq == journal.position)
        lost = journal._tape.segment
        disk.sync_error = disk_error()
        journal.mark(marked("kept"))
        journal.open(opened("fresh"))
        journal.close(record("ended"))
        journal.void(voided("taken back"))
        await until(lambda: not journal.ready)
        assert "could not be synced" in str(journal.why_not_ready)
        assert journal._tape.segment is not lost
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
        assert [(exchange.id, marks) for exchange, marks in found.unresolved] == [("kept", [marked("kept")]), ("fresh", [])]
        assert {closed.id for _, closed in all_closes(journal.directory, 10**9)} == {"ended", "early"}


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


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("journal.")])
async def test_every_fault_within_loses_and_doubles_nothing(tmp_path: Path, name: str, action: str) -> None:
    """The same work under a fault at each named place: every exchange is admitted and ended, or refused without a trace."""
    fail = Failpoints(f"{name}={action}@3")
    options = JournalOptions(interval_s=0.001, keep_s=0.0 if "delete" in name else 60.0, segment_bytes=SEGMENT_BYTES_MIN)
    expected: list[str] = []
    seen: list[str] = []
    async with running(tmp_path, options, fail) as journal:
        reader = Reader(journal.directory)
        for number in range(400):
            await until(lambda: journal.ready)
            try:
                journal.open(opened(f"x{number}"))
            except JournalUnavailable:
                continue
            if number % 3 == 0:
                try:
                    journal.mark(marked(f"x{number}"))
                except JournalUnavailable:
                    await until(lambda: journal.ready)
            if number % 5 == 0:
                journal.void(voided(f"x{number}"))
            else:
                expected.append(f"x{number}")
                journal.close(record(f"x{number}"))
            if number % 20 == 0:
                await asyncio.sleep(0)
                seen += [closed.id for _, closed in reader.closes(1000, journal.position)]
                journal.booked(reader.last_seq)
                journal._upkeep.tidy_soon()
        await until(lambda: fail._passes[name] >= 3, journal)
        await until(lambda: journal.ready)
        seen += [closed.id for _, closed in reader.closes(1000, journal.position)]
        reader.close()
        assert recover(journal.directory).unresolved == []
    assert list(dict.fromkeys(seen)) == expected
