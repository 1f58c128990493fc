"""The reader: every close once, in order, up to the seq it is told, wherever it starts and whatever
the segments have become."""

from __future__ import annotations

import gzip
import os
import random
import threading
from pathlib import Path

import pytest

from proxy.journal import Journal, JournalReader, JournalUnavailable
from proxy.journal import frames as f
from proxy.journal.frames import FRAME_BYTES_MAX
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.journal.reader import WINDOW_BYTES
from proxy.journal.segments import list_segments
from tests.journal.builders import (
    SMALL,
    BadDisk,
    all_closes,
    disk_error,
    driven,
    marked,
    names,
    opened,
    record,
    running,
    until,
)
from tests.support.journals import journal_options


async def filled(journal: Journal, exchanges: int) -> None:
    for number in range(exchanges):
        journal.open(opened(f"x{number}"))
        journal.close(record(f"x{number}"))


@pytest.mark.parametrize("finished", [False, True])
async def test_every_start_and_every_limit_give_the_rest(tmp_path: Path, finished: bool) -> None:
    async with running(tmp_path) as journal:
        await filled(journal, 130)
        if finished:
            journal.booked(journal.position)
            await until(lambda: sum(name.endswith(".gz") for name in names(journal)) >= 2, journal)
        whole = all_closes(journal.directory, journal.position)
        assert [(seq, closed.id) for seq, closed in whole] == [
            (2 * number + 2, f"x{number}") for number in range(130)
        ]
        for after in range(0, 261, 7):
            assert all_closes(journal.directory, journal.position, after) == [
                pair for pair in whole if pair[0] > after
            ]
        for upto in (0, 1, 2, 3, 100, 260, 10**6):
            assert all_closes(journal.directory, upto) == [
                pair for pair in whole if pair[0] <= upto
            ]
        reader = JournalReader(journal.directory, 20)
        assert [
            seq for seq, _ in reader.closes(3, 200) + reader.closes(1, 200) + reader.closes(2, 32)
        ] == [22, 24, 26, 28, 30, 32]
        assert (reader.last_seq, reader.missing, reader.skipped_bytes, reader.undecodable) == (
            32,
            0,
            0,
            0,
        )
        reader.close()


async def test_it_follows_a_writer_from_another_thread(tmp_path: Path) -> None:
    """It never sees a half-written entry, for it looks only as far as the writer says it is."""
    async with running(tmp_path) as journal:
        reader = JournalReader(journal.directory)
        seen: list[str] = []
        ended = threading.Event()

        def follow() -> None:
            last = False
            while not last:
                last = ended.is_set()
                while batch := reader.closes(7, journal.position):
                    seen.extend(closed.id for _, closed in batch)

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            await filled(journal, 1200)
        finally:
            ended.set()
            thread.join()
        assert seen == [f"x{number}" for number in range(1200)]
        assert (reader.skipped_bytes, reader.missing) == (0, 0)
        reader.close()


async def test_nothing_to_read_is_no_error(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        reader = JournalReader(journal.directory)
        assert reader.closes(64, 0) == reader.closes(64, journal.position) == []
        journal.open(opened("a"))
        assert reader.closes(64, journal.position) == []
        journal.close(record("a"))
        assert [seq for seq, _ in reader.closes(64, journal.position)] == [2]
        reader.close()


async def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await filled(journal, 100)
    path = list_segments(tmp_path / "w0")[0].path
    data = path.read_bytes()
    frames = list(f.scan(data))
    hit = frames[10:13]  # S is the first: these are C of x4, O and C of x5
    path.write_bytes(data[: hit[0].at] + bytes(hit[-1].end - hit[0].at) + data[hit[-1].end :])
    reader = JournalReader(tmp_path / "w0")
    read = [closed.id for _, closed in reader.closes(1000, 200)]
    assert read == [f"x{number}" for number in range(100) if number not in (4, 5)]
    assert (reader.missing, reader.skipped_bytes) == (3, hit[-1].end - hit[0].at)
    reader.close()


async def test_a_hole_wider_than_the_window_is_crossed(tmp_path: Path) -> None:
    async with running(tmp_path, journal_options(segment_bytes=2**20)) as journal:
        for number in range(60):
            journal.open(opened(f"x{number}", end_user="u" * 9000))
            journal.close(record(f"x{number}"))
    path = list_segments(tmp_path / "w0")[0].path
    data = path.read_bytes()
    close = [frame for frame in f.scan(data) if frame.kind == f.CLOSE][30]
    path.write_bytes(bytes(close.at) + data[close.at :])
    reader = JournalReader(tmp_path / "w0")
    assert [closed.id for _, closed in reader.closes(64, 120)] == [
        f"x{number}" for number in range(30, 60)
    ]
    assert reader.skipped_bytes == close.at > 4 * FRAME_BYTES_MAX + WINDOW_BYTES
    reader.close()


async def test_a_damaged_newest_entry_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        reader = JournalReader(journal.directory)
        journal.open(opened("a"))
        journal.close(record("a"))
        segment = journal._appender.segment
        with segment.path.open("r+b") as file:
            file.seek(segment.position - 5)
            file.write(b"#")
        assert reader.closes(64, journal.position) == []
        await filled(journal, 100)
        assert [closed.id for _, closed in reader.closes(1000, journal.position)] == [
            f"x{number}" for number in range(100)
        ]
        assert reader.missing == 1
        reader.close()


async def test_a_file_that_cannot_be_opened_leaves_no_other_open(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        numbers = range(SEGMENT_BYTES_MIN // 500)
        for n in numbers:
            journal.open(opened(str(n)))
            journal.close(record(str(n)))
        first, *_ = list_segments(journal.directory)
        aside = first.path.rename(first.path.with_suffix(".away"))
        first.path.symlink_to(first.path.name)
        open_before = len(list(Path("/dev/fd").iterdir()))
        reader = JournalReader(journal.directory)
        with pytest.raises(OSError, match="symbolic links"):
            reader.closes(10, journal.position)
        assert len(list(Path("/dev/fd").iterdir())) == open_before
        aside.rename(first.path)
        assert len(reader.closes(10_000, journal.position)) == len(numbers)
        reader.close()


async def test_nothing_behind_the_seq_asked_for_is_given(tmp_path: Path) -> None:
    """Not even where the entry of that seq is damaged: what follows may still be in the making."""
    async with running(tmp_path) as journal:
        journal.open(opened("a"))
        before = journal._appender.segment.position
        journal.open(opened("b"))
        journal.close(record("a"))
        with journal._appender.segment.path.open("r+b") as file:
            file.seek(before + 30)
            file.write(b"#####")
        assert all_closes(journal.directory, 2) == []
        assert [seq for seq, _ in all_closes(journal.directory, 3)] == [3]


async def test_a_finished_segment_that_is_broken_off_gives_what_it_has(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await filled(journal, 130)
        journal.booked(journal.position)
        await until(lambda: names(journal)[0].endswith(".gz"), journal)
    first = list_segments(tmp_path / "w0")[0].path
    entries = len(list(f.scan(gzip.decompress(first.read_bytes()))))
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    reader = JournalReader(tmp_path / "w0")
    read = [int(closed.id[1:]) for _, closed in reader.closes(1000, 260)]
    assert read == sorted(set(read))
    assert set(range(entries // 2 + 1, 130)) <= set(read), "all of the others"
    assert reader.missing > 0
    reader.close()


async def test_what_was_written_twice_is_read_once_in_seq_and_twice_in_id(tmp_path: Path) -> None:
    """Two segments may hold the same seq after a write that could not be undone; a rewritten close
    has a seq of its own and the ledger knows its id."""
    async with running(tmp_path) as journal:
        await filled(journal, 2)
    directory = tmp_path / "w0"
    data = f.encode(f.START, 2, b"") + f.encode(f.CLOSE, 4, b"{}")
    (directory / "0000000009.seg").write_bytes(data)
    reader = JournalReader(directory)
    assert [seq for seq, _ in reader.closes(64, 4)] == [2, 4]
    assert reader.undecodable == 0
    reader.close()


async def test_a_close_is_not_taken_for_the_double_of_a_mark_that_failed(tmp_path: Path) -> None:
    """The disk keeps the mark, says it did not, and takes no zeros over it: its seq is used up, or
    the reader would pass the close with the same one."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        fd = journal._appender.segment.fd

        def written_but_refused(data: bytes, offset: int) -> OSError:
            if data.startswith(f.MAGIC):
                os.pwrite(fd, data, offset)
            return disk_error()

        disk.on_write = written_but_refused
        with pytest.raises(JournalUnavailable):
            journal.mark(marked("a"))
        disk.on_write = lambda data, offset: None
        await until(lambda: journal.ready)
        journal.close(record("a"))
        assert [closed.id for _, closed in all_closes(journal.directory, journal.position)] == ["a"]


async def test_an_entry_of_an_unknown_shape_is_told_and_passed(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await filled(journal, 1)
        journal._appender.put(f.CLOSE, b'{"id":"odd"}')
        await filled(journal, 1)
        reader = JournalReader(journal.directory)
        assert [seq for seq, _ in reader.closes(64, journal.position)] == [2, 5]
        assert reader.undecodable == 1
        reader.close()


async def test_memory_is_a_window_not_a_segment(tmp_path: Path) -> None:
    async with running(tmp_path, SMALL) as journal:
        rng = random.Random(1)
        for number in range(300):
            journal.open(opened(f"x{number}", end_user="u" * rng.randrange(8000)))
            journal.mark(marked(f"x{number}"))
            journal.close(record(f"x{number}"))
        reader = JournalReader(journal.directory)
        while reader.closes(1, journal.position):
            assert reader._window is not None
            assert len(reader._window._data) <= 2 * 64 * 1024
        assert reader.last_seq == 900
        reader.close()
