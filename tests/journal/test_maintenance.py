"""Beside the writing: spares are ready, done segments are compressed and dropped, the bound is
kept, and an idle journal sleeps."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from proxy.journal import JournalUnavailable, recover
from proxy.journal.maintenance import CARRY_AT_ONCE, CARRY_BEHIND
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.server.failpoints import Failpoints
from tests.journal.builders import (
    BadDisk,
    all_closes,
    disk_error,
    driven,
    marked,
    names,
    opened,
    record,
    running,
    state,
    turn,
    until,
)
from tests.support.journals import journal_options


async def test_an_idle_journal_sleeps_until_something_is_written(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        for id in ("a", "b", "c"):
            await until(lambda: not journal._maintenance.awake and not journal._syncer.due)
            syncs = disk.syncs
            for _ in range(100):
                await asyncio.sleep(0)
            assert disk.syncs == syncs
            journal.open(opened(id))
            assert journal._maintenance.awake, "whoever writes wakes it, once"
            await until(lambda: journal._syncer.synced_seq == journal.position)


async def test_there_is_a_spare_before_it_is_needed_and_one_only(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        assert names(journal) == ["0000000001.seg"]
        await turn(journal)
        await turn(journal)
        assert names(journal) == ["0000000001.seg", "0000000002.seg"]
        while journal._appender.room - journal._openings.kept >= journal._house.low_room:
            journal.open(opened(f"x{journal.position}"))
        await turn(journal)
        assert names(journal) == ["0000000001.seg", "0000000002.seg", "0000000003.seg"], (
            "what is promised is not free"
        )


async def test_a_disk_without_room_is_said_and_asked_again(tmp_path: Path) -> None:
    disk = BadDisk()
    async with driven(tmp_path, disk=disk) as journal:
        disk.allocate_error = disk_error(errno.ENOSPC)
        await turn(journal)
        assert (journal._house.full, journal.failures) == (
            "no room for another journal segment: [Errno 28] No space left on device",
            2,
        )
        assert not journal._house.grow(10 * SEGMENT_BYTES_MIN)
        assert journal.failures == 2, "an opening does not ask a full disk again"
        disk.allocate_error = None
        await turn(journal)
        assert (journal._house.full, journal._appender.spares) == (None, 1)


async def test_what_cannot_be_compressed_stays_and_is_tried_again(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        journal.open(opened("a"))
        journal.booked(journal.close(record("a")))
        assert journal._appender.roll()
        obstacle = journal.directory / "0000000001.seg.gz"
        obstacle.mkdir()
        await turn(journal)
        assert journal.failures > 0
        assert "0000000001.seg" in names(journal)
        obstacle.rmdir()
        await turn(journal)
        assert names(journal)[0] == "0000000001.seg.gz"
        assert "0000000001.seg" not in names(journal)


async def test_with_nothing_to_keep_no_copy_is_made(tmp_path: Path) -> None:
    options = journal_options(keep_s=0.0, segment_bytes=SEGMENT_BYTES_MIN)
    async with driven(tmp_path, options, Failpoints("journal.compress.before=raise")) as journal:
        journal.open(opened("a"))
        journal.booked(journal.close(record("a")))
        assert journal._appender.roll()
        await turn(journal)
        assert (names(journal)[0], journal.failures) == ("0000000002.seg", 0)


async def test_nothing_is_done_while_ends_wait_in_memory(tmp_path: Path) -> None:
    """The segment with the opening is all that the disk has of the exchange."""
    disk = BadDisk()
    async with driven(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        assert journal._appender.roll()
        assert await journal._syncer.join()
        disk.on_write = lambda data, offset: disk_error()
        journal.booked(journal.close(record("a")))
        await turn(journal)
        assert names(journal)[0] == "0000000001.seg"
        disk.on_write = lambda data, offset: None
        assert journal._appender.repair()
        await turn(journal)
        assert names(journal)[0] == "0000000001.seg.gz"


async def test_what_ends_while_the_others_are_written_again_is_passed_over(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        ids = [f"x{number}" for number in range(CARRY_AT_ONCE + 5)]
        for id in ids:
            journal.open(opened(id))
        for _ in range(CARRY_BEHIND + 1):
            assert journal._appender.roll()
        await journal._house.prepare()
        tidying = asyncio.create_task(journal._house.tidy(0, 0))
        await asyncio.sleep(0)
        assert journal.position == len(ids) + CARRY_AT_ONCE, (
            "the others' turn comes after the event loop's"
        )
        journal.close(record(ids[-2]))
        await tidying
        assert [exchange.id for exchange, _ in recover(journal.directory).unresolved] == [
            id for id in ids if id != ids[-2]
        ]
        assert journal.position == 2 * len(ids)


async def test_nothing_is_written_again_into_the_room_kept_for_ends(tmp_path: Path) -> None:
    disk = BadDisk()
    async with driven(tmp_path, disk=disk) as journal:
        journal.open(opened("long", end_user="u" * 9000))
        for _ in range(CARRY_BEHIND + 1):
            assert journal._appender.roll()
        disk.allocate_error = disk_error(errno.ENOSPC)
        with pytest.raises(JournalUnavailable, match="No space left"):
            for number in range(1000):
                journal.open(opened(f"x{number}"))
        last = journal.position
        await turn(journal)
        assert journal.position == last
        disk.allocate_error = None
        await turn(journal)
        assert journal.position == last + 1


async def test_a_burst_takes_segments_at_once(tmp_path: Path) -> None:
    """Openings do not fail because the thread that makes segments ready has had no turn."""
    async with running(tmp_path) as journal:
        for number in range(200):
            journal.open(opened(f"x{number}"))
        for number in range(200):
            journal.close(record(f"x{number}"))
        assert len(all_closes(journal.directory, journal.position)) == 200


async def test_done_segments_are_compressed_and_read_again(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        journal.open(opened("long"))
        for number in range(200):
            journal.open(opened(f"x{number}"))
            journal.close(record(f"x{number}"))
        journal.close(record("long"))
        journal.booked(journal._retention.undone[0].last_close_seq - 1)
        await turn(journal)
        assert not any(name.endswith(".gz") for name in names(journal)), (
            "one close in the first is not booked"
        )
        journal.booked(journal.position)
        await turn(journal)
        assert [name[11:] for name in names(journal)] == ["seg.gz"] * (len(names(journal)) - 2) + [
            "seg",
            "seg",
        ], "all but the current one and the spare"
        assert [closed.id for _, closed in all_closes(journal.directory, journal.position)] == [
            f"x{number}" for number in range(200)
        ] + ["long"]
        assert [seq for seq, _ in all_closes(journal.directory, journal.position, 390)] == [
            391,
            393,
            395,
            397,
            399,
            401,
            402,
        ]
        assert journal.bytes_on_disk == sum(
            path.stat().st_size for path in journal.directory.iterdir()
        )
    assert recover(tmp_path / "w0").unresolved == []


async def test_a_long_exchange_holds_up_few_segments(tmp_path: Path) -> None:
    """What is open is written again into newer segments; the old ones go, in their order."""
    async with driven(tmp_path) as journal:
        journal.open(opened("long"))
        journal.mark(marked("long", 512))
        journal.mark(marked("long", 1024))
        for number in range(2000):
            journal.open(opened(f"x{number}"))
            journal.booked(journal.close(record(f"x{number}")))
            if number % 20 == 0:
                await turn(journal)
            assert journal.open_count == 1
            assert len(journal._retention.undone) <= 6
        found = recover(journal.directory)
        assert [(exchange, marks[-1]) for exchange, marks in found.unresolved] == [
            (opened("long"), marked("long", 1024))
        ]
        journal.close(record("long"))
        assert recover(journal.directory).unresolved == []
        assert [closed.id for _, closed in all_closes(journal.directory, journal.position)] == [
            f"x{number}" for number in range(2000)
        ] + ["long"]


async def test_finished_segments_go_when_they_are_old(tmp_path: Path) -> None:
    for keep_s, left in ((3600.0, "0000000001.seg.gz"), (0.0, None)):
        options = journal_options(keep_s=keep_s, segment_bytes=SEGMENT_BYTES_MIN)
        async with driven(tmp_path / str(keep_s), options) as journal:
            for number in range(200):
                journal.open(opened(f"x{number}"))
                journal.close(record(f"x{number}"))
            journal.booked(journal.position)
            assert journal._appender.roll()
            await turn(journal)
            assert names(journal)[0] == left or (left is None and len(names(journal)) == 2)
            if left is not None:
                os.utime(journal.directory / left, (time.time() - keep_s - 60,) * 2)
                second = names(journal)[1]
            last = journal.position
        async with driven(tmp_path / str(keep_s), options) as journal:
            assert journal.position == last, "numbering goes on though the files are gone"
            await turn(journal)
            assert left is None or names(journal)[0] == second


async def test_the_bound_drops_the_oldest_done_ones_and_no_other(tmp_path: Path) -> None:
    options = journal_options(segment_bytes=SEGMENT_BYTES_MIN, size_max_bytes=4 * SEGMENT_BYTES_MIN)
    async with driven(tmp_path, options) as journal:
        with pytest.raises(JournalUnavailable, match="size_max"):
            for number in range(100_000):
                journal.open(opened(f"x{number}"))
                journal.close(record(f"x{number}"))
        assert 3 * SEGMENT_BYTES_MIN < journal.bytes_on_disk <= options.size_max_bytes
        assert names(journal)[0] == "0000000001.seg", "nothing is booked, so nothing may go"
        assert "size_max" in str(journal.why_not_ready)
        journal.booked(journal.position)
        await turn(journal)
        assert journal.ready
        for number in range(3000):
            journal.open(opened("y"))
            journal.booked(journal.close(record("y")))
            if number % 20 == 0:
                await turn(journal)
                assert journal.bytes_on_disk <= options.size_max_bytes
        assert names(journal)[0] > "0000000002.seg.gz"
        assert names(journal)[0].endswith(".gz"), "as much as fits is kept"


def taken_away(path: Path, *, replaced: bool) -> Path:
    """Moves a file or directory aside, and puts a copy in its place if `replaced`; where it is
    now."""
    aside = path.rename(path.with_name(path.name + ".aside"))
    if replaced:
        (shutil.copytree if aside.is_dir() else shutil.copy)(aside, path)
    return aside


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("name", ["", "lock", "0000000001.seg", "0000000002.seg"])
async def test_a_journal_whose_files_are_gone_admits_nothing_until_they_are_back(
    tmp_path: Path, name: str, replaced: bool
) -> None:
    async with running(tmp_path) as journal:
        await until(lambda: journal._appender.spares == 1)
        journal.open(opened("a"))
        path = journal.directory / name
        aside = taken_away(path, replaced=replaced)
        await until(lambda: not journal.ready)
        assert "was removed or replaced while in use, or cut: put it back, or restart" in str(
            journal.why_not_ready
        )
        assert journal.failures == 1, "an alert goes by it"
        with pytest.raises(JournalUnavailable, match="removed or replaced"):
            journal.open(opened("b"))
        journal.mark(marked("a"))
        journal.close(record("a"))  # what runs comes to its end
        if replaced:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        aside.rename(path)
        await until(lambda: journal.ready)
        journal.open(opened("b"))
    assert state(journal) == (["b"], ["a"])


async def test_a_segment_that_somebody_cuts_admits_nothing_more(tmp_path: Path) -> None:
    """A log rotation with `copytruncate` over the data directory does so, and writing on leaves
    zeros where entries stood."""
    async with running(tmp_path) as journal:
        journal.open(opened("a"))
        os.truncate(journal.directory / "0000000001.seg", 0)
        journal.mark(marked("a"))
        await until(lambda: not journal.ready)
        assert "0000000001.seg" in str(journal.why_not_ready) and "cut" in str(
            journal.why_not_ready
        )
