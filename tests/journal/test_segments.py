"""One segment file: what is written is there, what failed is not, and a directory shows them in
order."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.journal.segments import Segment, list_segments
from tests.journal.builders import BadDisk, disk_error

SIZE = 4096


def test_a_directory_shows_its_segments_by_number(tmp_path: Path) -> None:
    for name in (
        "10.seg",
        "9.seg.gz",
        "0000000008.seg",
        "8.seg.gz",
        "7.seg.tmp",
        "7.seg.gz.tmp",
        "x.seg",
        "6.gz",
        "lock",
        ".seg",
    ):
        (tmp_path / name).touch()
    shown = [(file.number, file.path.name, file.compressed) for file in list_segments(tmp_path)]
    assert shown == [(8, "0000000008.seg", False), (9, "9.seg.gz", True), (10, "10.seg", False)], (
        "the plain one counts, and none in the making"
    )


def test_a_new_one_is_all_there_and_empty(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, 7, SIZE, BadDisk())
    assert segment.path == tmp_path / "0000000007.seg"
    assert segment.path.read_bytes() == bytes(SIZE)
    assert segment.path.stat().st_mode & 0o777 == 0o600, "entries name keys and teams"
    assert (segment.position, segment.left) == (0, SIZE)
    segment.discard()
    segment.discard()
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    disk = BadDisk()
    disk.allocate_error = disk_error()
    with pytest.raises(OSError, match="Input/output"):
        Segment.create(tmp_path, 7, SIZE, disk)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verdicts", "error", "uncertain", "left"),
    [
        # what the disk does with the frame, then with the zeros that undo it; what stands there
        # afterwards
        ([3, None], "short write: 3 of 5", False, bytes(5)),
        ([0], "short write: 0 of 5", False, bytes(5)),
        ([disk_error(), None], "Input/output", False, bytes(5)),
        ([3, 2], "short write: 3 of 5", True, b"\0\0a\0\0"),
        ([3, disk_error()], "short write: 3 of 5", True, b"aaa\0\0"),
        ([disk_error(), disk_error()], "Input/output", True, bytes(5)),
    ],
)
def test_a_failed_write_is_undone_or_said_to_be_uncertain(
    tmp_path: Path, verdicts: list[int | OSError | None], error: str, uncertain: bool, left: bytes
) -> None:
    disk = BadDisk()
    segment = Segment.create(tmp_path, 1, SIZE, disk)
    segment.append(b"first")
    asked = iter(verdicts)
    disk.on_write = lambda data, offset: next(asked)
    with pytest.raises(OSError, match=error):
        segment.append(b"aaaaa")
    assert (segment.position, segment.uncertain) == (5, uncertain)
    assert segment.path.read_bytes()[:10] == b"first" + left
    assert list(asked) == []
    segment.close()


def test_what_was_written_can_be_taken_back_and_what_is_unsynced_read(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, 1, SIZE, BadDisk())
    for data in (b"one", b"two", b"three"):
        segment.append(data)
    segment.synced = 3
    assert segment.read_unsynced() == b"twothree"
    segment.retract(5)
    assert (segment.position, segment.read_unsynced(), segment.uncertain) == (6, b"two", False)
    assert segment.path.read_bytes() == b"onetwo" + bytes(SIZE - 6)
    segment.close()


@pytest.mark.parametrize(("uncertain", "size"), [(False, 3), (True, SIZE)])
def test_the_unused_tail_is_given_back_unless_something_may_stand_there(
    tmp_path: Path, uncertain: bool, size: int
) -> None:
    segment = Segment.create(tmp_path, 1, SIZE, BadDisk())
    segment.append(b"one")
    segment.uncertain = uncertain
    segment.trim()
    assert (segment.size, segment.path.stat().st_size) == (size, size)
    segment.close()
    segment.close()
    assert segment.fd == -1
