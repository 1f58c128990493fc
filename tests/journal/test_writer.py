"""The journal as its callers see it: what is admitted, what never refuses, what is still there
afterwards."""

from __future__ import annotations

import asyncio
import errno
import sys
from pathlib import Path

import pytest

from proxy.journal import Journal, JournalUnavailable, claimable, recover
from proxy.journal.codec import OPEN_BYTES_MAX
from proxy.journal.frames import FRAME_BYTES_MAX
from proxy.journal.options import SEGMENT_BYTES_MIN
from tests.journal.builders import (
    SMALL,
    BadDisk,
    all_closes,
    disk_error,
    marked,
    names,
    opened,
    record,
    running,
    until,
    voided,
)


async def test_the_life_of_exchanges(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for id in ("ended", "taken back", "left open"):
            journal.open(opened(id))
        journal.mark(marked("left open", 512))
        journal.mark(marked("left open", 1024))
        assert journal.close(record("ended")) == 6
        journal.void(voided("taken back"))
        assert (journal.writer, journal.position, journal.open_count, journal.ready) == (
            "w0",
            7,
            1,
            True,
        )
        assert all_closes(journal.directory, journal.position) == [(6, record("ended"))]
    found = recover(tmp_path / "w0")
    assert found.unresolved == [
        (opened("left open"), [marked("left open", 512), marked("left open", 1024)])
    ]
    assert (found.frames, found.last_seq, found.skipped_bytes, found.unopened) == (7, 7, 0, 0)


async def test_each_entry_is_one_write_of_one_frame_at_once(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        before = disk.writes
        journal.open(opened("a"))
        journal.mark(marked("a"))
        journal.close(record("a"))
        assert disk.writes - before == 3
        assert recover(journal.directory).frames == 3, "nothing waits for the loops"


async def test_what_was_left_open_is_settled_once_in_the_next_life(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.open(opened("a"))
        journal.mark(marked("a"))
    async with running(tmp_path) as journal:
        assert journal.take_recovered().unresolved == [(opened("a"), [marked("a")])]
        assert journal.take_recovered().unresolved == []
        assert (journal.open_count, journal.position) == (1, 2)
        journal.close(record("a", origin="recovery"))
        assert journal.open_count == 0
    async with running(tmp_path) as journal:
        assert journal.take_recovered().unresolved == []
        assert [closed.origin for _, closed in all_closes(journal.directory, journal.position)] == [
            "recovery"
        ]


async def test_one_process_a_directory(tmp_path: Path) -> None:
    async with running(tmp_path) as first, running(tmp_path) as second:
        assert (first.writer, second.writer) == ("w0", "w1")
        assert claimable(tmp_path) == []
        assert Journal.adopt(tmp_path / "w0", SMALL) is None
        holder = f"from pathlib import Path; from proxy.journal import claimable; print(claimable(Path({str(tmp_path)!r})))"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", holder, stdout=asyncio.subprocess.PIPE
        )
        assert (await process.communicate())[0] == b"[]\n", "other processes see it too"
    assert claimable(tmp_path) == [tmp_path / "w0", tmp_path / "w1"]
    assert claimable(tmp_path / "none") == []


async def test_another_writers_directory_is_ended_in_itself(tmp_path: Path) -> None:
    async with running(tmp_path), running(tmp_path) as second:
        second.open(opened("a"))
    async with running(tmp_path):
        adopted = Journal.adopt(tmp_path / "w1", SMALL)
        assert adopted is not None
        assert [found.id for found, _ in adopted.take_recovered().unresolved] == ["a"]
        assert adopted.close(record("a", writer="w1")) == 2
        await adopted.aclose()
    assert recover(tmp_path / "w1").unresolved == []


async def test_entries_are_numbered_on_behind_what_the_ledger_knows(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.continue_after(5000)
        journal.open(opened("a"))
        assert journal.close(record("a")) == 5002
        journal.continue_after(10)
        journal.open(opened("b"))
        assert journal.close(record("b")) == 5004
        assert [seq for seq, _ in all_closes(journal.directory, journal.position, 5000)] == [
            5002,
            5004,
        ]


async def test_closes_fit_when_nothing_more_can_be_had(tmp_path: Path) -> None:
    """The heart: an exchange is admitted only if its end, and some marks, surely fit beside those
    of all others."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        await until(lambda: journal.bytes_on_disk == 2 * SEGMENT_BYTES_MIN)
        disk.allocate_error = disk_error(errno.ENOSPC)
        admitted: list[str] = []
        with pytest.raises(JournalUnavailable, match="No space left"):
            for number in range(10_000):
                journal.open(opened(f"x{number}"))
                admitted.append(f"x{number}")
        assert 5 < len(admitted) < 60
        assert not journal.ready
        assert "No space left" in str(journal.why_not_ready)
        for id in admitted:
            for step in range(5):
                journal.mark(marked(id, 512 * step))
        huge = {f"n{number}": 1 for number in range(150)}
        for id in admitted:
            journal.close(record(id, usage_raw=huge, upstream_request_id="r" * 500))
        assert journal.position == 7 * len(admitted), "all are written, none waits"
        assert [
            closed.id for _, closed in all_closes(journal.directory, journal.position)
        ] == admitted
        disk.allocate_error = None
        await until(lambda: journal.ready)
        journal.open(opened("again"))
        journal.void(voided("again"))


async def test_marks_end_where_the_room_for_closes_begins(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        await until(lambda: journal.bytes_on_disk == 2 * SEGMENT_BYTES_MIN)
        disk.allocate_error = disk_error(errno.ENOSPC)
        for id in ("a", "b"):
            journal.open(opened(id))
        with pytest.raises(JournalUnavailable):
            for step in range(100_000):
                journal.mark(marked("a", step))
        for id in ("a", "b"):
            journal.mark(marked("b")) if id == "b" else None
            journal.close(record(id))
        assert [closed.id for _, closed in all_closes(journal.directory, journal.position)] == [
            "a",
            "b",
        ]


async def test_names_too_long_for_a_frame_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.open(opened("fits", model_requested="m" * (OPEN_BYTES_MAX - 600)))
        journal.close(record("fits", model_requested="m" * (OPEN_BYTES_MAX - 600)))
        with pytest.raises(JournalUnavailable, match="names take"):
            journal.open(opened("not", model_requested="m" * FRAME_BYTES_MAX))
        assert journal.ready
        assert journal.open_count == 0
        assert len(all_closes(journal.directory, journal.position)) == 1


async def test_nothing_of_a_closed_exchange_stays_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number in range(50):
            journal.open(opened(f"x{number}"))
            journal.mark(marked(f"x{number}"))
            journal.close(record(f"x{number}"))
        assert len(journal._openings) == journal._openings.kept == 0
        assert all(segment.unresolved == 0 for segment in journal._retention.undone)


async def test_numbering_goes_on_when_only_finished_segments_are_left(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number in range(100):
            journal.open(opened(f"x{number}"))
            journal.close(record(f"x{number}"))
        journal.booked(journal.position)
        await until(lambda: any(name.endswith(".gz") for name in names(journal)), journal)
    for path in (tmp_path / "w0").glob("*.seg"):
        path.unlink()
    last = all_closes(tmp_path / "w0", 10**9)[-1][0]
    async with running(tmp_path) as journal:
        assert journal.position in (last, last + 1), "the last entry may be an opening"


async def test_a_clean_end_leaves_no_unused_space(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.open(opened("a"))
        journal.close(record("a"))
    (path,) = (tmp_path / "w0").glob("*.seg")
    assert path.stat().st_size < 2000
    await journal.aclose()


def test_what_cannot_be_written_at_all_is_said_at_the_start(tmp_path: Path) -> None:
    disk = BadDisk()
    disk.allocate_error = disk_error(errno.ENOSPC)
    with pytest.raises(JournalUnavailable, match="No space left"):
        Journal.claim(tmp_path, SMALL, disk=disk)
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnavailable, match="no journal can be kept"):
        Journal.claim(tmp_path / "file", SMALL)
    assert claimable(tmp_path) == [tmp_path / "w0"], "the lock is given back"
