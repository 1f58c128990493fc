"""The retention: when a segment is done, what may be dropped, and in which order."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from proxy.core.fault_points import no_fault
from proxy.journal import recover
from proxy.journal.disk import SystemDisk
from proxy.journal.retention import Retention, compress, delete
from proxy.journal.segments import Finished, Segment
from proxy.server.failpoints import Failpoints
from tests.journal.builders import BadDisk, driven, names, opened, record, turn, unwritten

BOOKED_SEQ, POSITION, SYNCED_SEQ = 50, 80, 80


def shelf_of(*sizes: int, done: int = 0) -> Retention:
    """Segments 1, 2, … of these sizes, of which the first few are done."""
    retention = Retention()
    for number, size in enumerate(sizes, 1):
        segment = unwritten(number, size)
        segment.unresolved = number > done
        retention.add(segment)
    retention.sort_out(BOOKED_SEQ, POSITION, SYNCED_SEQ)
    return retention


@pytest.mark.parametrize(
    ("changes", "done"),
    [
        ({}, True),
        ({"last_close_seq": 50}, True),
        ({"last_close_seq": 51}, False),  # its last close is not booked
        ({"unresolved": 1}, False),  # an exchange that began there is open
        ({"resolved_at": 80}, True),
        ({"resolved_at": 81}, False),  # what ended the last of them is not durable
        ({"fd": 3}, False),  # it is not durable itself
    ],
)
def test_when_a_segment_is_done(changes: dict[str, int], done: bool) -> None:
    retention, segment = Retention(), unwritten(1)
    for name, value in changes.items():
        setattr(segment, name, value)
    retention.add(segment)
    retention.sort_out(BOOKED_SEQ, POSITION, SYNCED_SEQ)
    assert retention.take_done() is (segment if done else None)


def test_done_ones_are_taken_in_their_order_and_counted_all_the_while() -> None:
    retention = shelf_of(100, 200, 400, 800, done=2)
    assert (
        retention.count,
        retention.bytes_on_disk,
        [segment.number for segment in retention.undone],
    ) == (
        4,
        1500,
        [3, 4],
    )
    first = retention.take_done()
    assert first is not None
    assert (first.number, retention.count, retention.bytes_on_disk) == (1, 4, 1500)
    retention.put_back()
    assert retention.take_done() is first, (
        "it could not be compressed: the next try is for it again"
    )
    retention.finish(Finished(1, Path("1.gz"), 10, 1000.0))
    assert (retention.count, retention.bytes_on_disk) == (4, 1410)
    retention.take_done()
    retention.finish(None)
    assert (retention.count, retention.bytes_on_disk, retention.take_done()) == (3, 1210, None)


@pytest.mark.parametrize(
    ("sizes", "behind", "held_up"), [((1, 1, 1), 2, 1), ((1, 1, 1), 3, None), ((), 0, None)]
)
def test_what_an_open_exchange_holds_up(
    sizes: tuple[int, ...], behind: int, held_up: int | None
) -> None:
    segment = shelf_of(*sizes).held_up(behind)
    assert (segment and segment.number) == held_up


def test_one_that_only_waits_for_booking_is_not_held_up() -> None:
    retention = shelf_of(1, 1, 1)
    retention.undone[0].unresolved = 0
    assert retention.held_up(1) is None


def test_old_ones_go_and_younger_ones_stay() -> None:
    retention = Retention()
    for number, written_at_s in ((1, 100.0), (2, 200.0), (3, 300.0)):
        retention.add_finished(Finished(number, Path(f"{number}.gz"), 10, written_at_s))
    for before_s, expired, left_bytes in (
        (100.0, [], 30),
        (250.0, ["1.gz", "2.gz"], 10),
        (250.0, [], 10),
        (301.0, ["3.gz"], 0),
    ):
        assert (
            [path.name for path in retention.take_expired(before_s)],
            retention.bytes_on_disk,
        ) == (
            expired,
            left_bytes,
        )


@pytest.mark.parametrize(
    ("excess_bytes", "surplus", "left_bytes"),
    [
        (1, ["1.gz"], 1520),
        (10, ["1.gz"], 1520),
        (11, ["1.gz", "2.gz"], 1500),
        (31, ["1.gz", "2.gz", "0000000001.seg"], 1400),
        (330, ["1.gz", "2.gz", "0000000001.seg", "0000000002.seg"], 1200),
        (331, None, 1530),  # the rest is not done: then nothing goes, since it would not help
    ],
)
def test_the_oldest_go_first_and_no_more_than_needed(
    excess_bytes: int, surplus: list[str] | None, left_bytes: int
) -> None:
    retention = shelf_of(100, 200, 400, 800, done=2)
    retention.add_finished(Finished(1, Path("1.gz"), 10, 100.0))
    retention.add_finished(Finished(2, Path("2.gz"), 20, 100.0))
    taken = retention.take_surplus(excess_bytes)
    assert (None if taken is None else [path.name for path in taken], retention.bytes_on_disk) == (
        surplus,
        left_bytes,
    )


def segment_in(directory: Path) -> Segment:
    segment = Segment.create(directory, 1, 4096, SystemDisk())
    segment.append(b"what was written")
    segment.close()
    os.utime(segment.path, (1000.0, 1000.0))
    return segment


def test_a_compressed_copy_takes_the_place_and_the_time(tmp_path: Path) -> None:
    finished = compress(segment_in(tmp_path), no_fault)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001.seg.gz"]
    assert gzip.decompress(finished.path.read_bytes()).rstrip(b"\0") == b"what was written"
    state = finished.path.stat()
    assert (finished.number, finished.size, finished.written_at_s, state.st_mtime) == (
        1,
        state.st_size,
        1000.0,
        1000.0,
    ), "it ages from its last entry"
    delete([finished.path, finished.path], no_fault)
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_compressed_stays_as_it_was(tmp_path: Path) -> None:
    segment = segment_in(tmp_path)
    before = segment.path.read_bytes()
    (tmp_path / "0000000001.seg.gz").mkdir()  # in the copy's way
    with pytest.raises(OSError, match="directory"):
        compress(segment, no_fault)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000000001.seg",
        "0000000001.seg.gz",
    ]
    assert segment.path.read_bytes() == before


def test_the_copy_is_whole_before_the_original_goes(tmp_path: Path) -> None:
    segment = segment_in(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        compress(segment, Failpoints("journal.compress.renamed=enospc"))
    assert (
        gzip.decompress((tmp_path / "0000000001.seg.gz").read_bytes()) == segment.path.read_bytes()
    )


async def test_a_segment_is_not_done_before_what_resolved_it_is_durable(tmp_path: Path) -> None:
    """After a power cut the opening must still be readable if the close is not."""
    disk = BadDisk()
    async with driven(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        assert journal._appender.roll()
        await turn(journal)
        journal.booked(journal.close(record("a")))
        for _ in range(3):
            await journal._house.tidy(journal.position, journal._syncer.synced_seq)
        assert names(journal)[0] == "0000000001.seg"
        await turn(journal)
        assert names(journal)[0] == "0000000001.seg.gz"


async def test_a_segment_stays_while_one_before_it_does(tmp_path: Path) -> None:
    """It may hold the end of an exchange that began there; without it recovery would take that for
    open."""
    async with driven(tmp_path) as journal:
        journal.open(opened("long"))
        journal.open(opened("short"))
        assert journal._appender.roll()
        journal.booked(journal.close(record("short")))
        assert journal._appender.roll()
        await turn(journal)
        assert names(journal)[:2] == ["0000000001.seg", "0000000002.seg"]
        assert [exchange.id for exchange, _ in recover(journal.directory).unresolved] == ["long"]
