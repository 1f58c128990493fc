"""The appender: every entry is written whole or not at all, in its order, wherever the disk refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from proxy.journal import JournalReader, JournalUnavailable, recover
from proxy.journal import frames as f
from proxy.journal.appender import WRITE_BOUNDS_S, Appender, WriteFailed
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.journal.segments import Segment
from proxy.server.failpoints import Failpoints
from tests.journal.builders import (
    BadDisk,
    bare_tape,
    disk_error,
    entries,
    kind_of,
    marked,
    opened,
    record,
    running,
    state,
    until,
    voided,
)

LARGEST = b"x" * f.PAYLOAD_BYTES_MAX


def test_entries_are_numbered_and_go_on_in_the_next_segment(tmp_path: Path) -> None:
    left: list[Segment] = []
    appender = bare_tape(tmp_path, BadDisk(), left.append)
    seqs = [appender.put(kind, LARGEST) for kind in (f.OPEN, f.CLOSE, f.MARK, f.OPEN, f.CLOSE)]
    appender.skip_to(100)
    appender.skip_to(7)
    seqs.append(appender.put(f.VOID, b"last"))
    assert (seqs, appender.position) == ([1, 2, 3, 4, 5, 101], 101)
    assert [(segment.number, segment.last_close_seq) for segment in (*left, appender.segment)] == [
        (1, 2),
        (2, 5),
    ]
    starts = [f.frame_at(segment.path.read_bytes(), 0) for segment in (*left, appender.segment)]
    assert [(start.kind, start.seq) for start in starts if start is not None] == [
        (f.START, 0),
        (f.START, 3),
    ], "each says what stands before it"
    assert sum(appender.write_counts) == 6
    assert len(appender.write_counts) == len(WRITE_BOUNDS_S) + 1
    appender.close()
    for segment in left:
        segment.close()
    assert [seq for _, seq, _ in entries(tmp_path)] == [1, 2, 3, 4, 5, 101]


@pytest.mark.parametrize("spares", [0, 1, 3])
@pytest.mark.parametrize(
    "payload_bytes", [0, 500, f.PAYLOAD_BYTES_MAX // 2 + 1, f.PAYLOAD_BYTES_MAX]
)
def test_what_the_room_promises_fits_though_nothing_more_can_be_had(
    tmp_path: Path, spares: int, payload_bytes: int
) -> None:
    disk = BadDisk()
    appender = bare_tape(tmp_path, disk)
    for _ in range(spares):
        appender.add_spare(appender.create(appender.take_number()))
    assert (appender.spares, appender.bytes_on_disk) == (spares, (spares + 1) * SEGMENT_BYTES_MIN)
    disk.allocate_error = disk_error(errno.ENOSPC)
    count = appender.room // (f.HEADER_BYTES + payload_bytes)
    assert count > 0
    for _ in range(count):
        appender.put(f.CLOSE, b"x" * payload_bytes)
    assert (appender.broken, appender.failures) == (None, 0)
    appender.close()


def test_a_spare_that_a_later_one_overtook_is_thrown_away(tmp_path: Path) -> None:
    appender = bare_tape(tmp_path, BadDisk())
    slow, fast = appender.take_number(), appender.take_number()
    appender.add_spare(appender.create(fast))
    appender.add_spare(appender.create(slow))
    assert appender.spares == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000001.seg", "0000000003.seg"]
    appender.put(f.OPEN, b"a")
    appender.close()
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001.seg"], (
        "an unused spare does not outlive the appender"
    )


def test_while_it_is_broken_endings_wait_and_all_else_is_refused(tmp_path: Path) -> None:
    disk = BadDisk()
    appender = bare_tape(tmp_path, disk)
    appender.put(f.OPEN, b"a")
    disk.on_write = lambda data, offset: disk_error()
    with pytest.raises(WriteFailed) as refusal:
        appender.put(f.MARK, b"refused")
    assert (refusal.value.uncertain, appender.position) == (True, 2), (
        "its seq is used up: it may stand there all the same"
    )
    assert appender.put(f.CLOSE, b"waits", keep=True) == 3
    disk.on_write = lambda data, offset: None
    with pytest.raises(WriteFailed) as refusal:
        appender.put(f.MARK, b"refused")
    assert not refusal.value.uncertain, "it was not even tried: the order holds"
    assert appender.put(f.VOID, b"waits too", keep=True) == 4
    assert (appender.position, appender.broken) == (2, "[Errno 5] Input/output error")
    assert appender.repair()
    assert (appender.position, appender.broken) == (4, None)
    assert appender.put(f.OPEN, b"b") == 5
    appender.close()
    assert entries(tmp_path) == [
        (f.OPEN, 1, b"a"),
        (f.CLOSE, 3, b"waits"),
        (f.VOID, 4, b"waits too"),
        (f.OPEN, 5, b"b"),
    ]


def test_a_repair_that_fails_forgets_nothing(tmp_path: Path) -> None:
    disk = BadDisk()
    appender = bare_tape(tmp_path, disk)
    disk.on_write = lambda data, offset: disk_error()
    for payload in (b"first", b"second"):
        appender.put(f.CLOSE, payload, keep=True)
    disk.on_write = lambda data, offset: disk_error(errno.ENOSPC)
    assert not appender.repair()
    assert "No space left" in str(appender.broken)
    disk.on_write = lambda data, offset: disk_error() if b"second" in data else None
    assert not appender.repair()
    assert appender.position == 1
    disk.on_write = lambda data, offset: None
    assert appender.repair()
    appender.close()
    assert entries(tmp_path) == [(f.CLOSE, 1, b"first"), (f.CLOSE, 2, b"second")]


def test_a_fault_behind_the_write_takes_the_entry_back(tmp_path: Path) -> None:
    appender = Appender(
        tmp_path,
        SEGMENT_BYTES_MIN,
        BadDisk(),
        Failpoints("journal.open.after=raise@1"),
        number=1,
        seq=0,
        leave=Segment.close,
    )
    assert appender.put(f.OPEN, b"a") == 1
    assert (appender.segment.number, appender.failures) == (2, 1)
    appender.close()
    assert entries(tmp_path) == [(f.OPEN, 1, b"a")]


async def test_a_frame_cut_at_any_byte_is_written_whole_elsewhere(tmp_path: Path) -> None:
    """The short write is undone, and the entry goes into a fresh segment, for each length that can
    be cut off."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        length = (
            journal._appender.segment.position
        )  # a start frame and an opening: longer than the opening
        for kept in range(length):
            cuts = [kept]
            disk.on_write = lambda data, offset, cuts=cuts: (
                cuts.pop() if cuts and kind_of(data) == f.OPEN else None
            )  # type: ignore[misc]
            journal.open(opened(f"x{kept}"))
            disk.on_write = lambda data, offset: None
            journal.void(voided(f"x{kept}"))
        assert journal.failures >= length - 50
        found = recover(journal.directory)
        assert (
            [exchange.id for exchange, _ in found.unresolved],
            found.frames,
            found.skipped_bytes,
        ) == (["a"], 1 + 2 * length, 0)
        assert journal.ready


async def test_an_opening_cut_twice_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("before"))
        for kept in (0, 1, 4, 8, 20, 21, 100, 300):
            disk.on_write = lambda data, offset, kept=kept: (
                kept if kind_of(data) == f.OPEN else None
            )  # type: ignore[misc]
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
    """The write reports an error though all was written, and the disk takes no zeros either:
    recovery must not book what was refused."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        fd = journal._appender.segment.fd

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
        reader = JournalReader(journal.directory)
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
