"""Closes in memory: all behind a place or none, in order, within a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.journal.unbooked import Unbooked
from tests.journal.builders import BadDisk, disk_error, opened, record, running, until


def filled(*seqs: int, after: int = 0) -> Unbooked:
    unbooked = Unbooked(after)
    for seq in seqs:
        unbooked.add(seq, record(str(seq)), 1000)
    return unbooked


def seqs(closes: list[tuple[int, object]] | None) -> list[int] | None:
    return None if closes is None else [seq for seq, _ in closes]


def test_the_next_closes_stay_until_they_are_booked() -> None:
    unbooked = filled(2, 4, 6, 8)
    for _ in range(2):
        assert seqs(unbooked.behind(0, 3, 100)) == [2, 4, 6]
    assert seqs(unbooked.behind(0, 3, 5)) == [2, 4]
    assert seqs(unbooked.behind(5, 3, 100)) == [6, 8]
    unbooked.booked(8)
    assert seqs(unbooked.behind(8, 3, 100)) == []


def test_what_was_written_before_is_not_here() -> None:
    unbooked = filled(8, after=7)
    assert unbooked.behind(6, 3, 100) is None
    assert seqs(unbooked.behind(7, 3, 100)) == [8]


@pytest.mark.parametrize("bound", ["RECORDS_MAX", "BYTES_MAX"])
def test_what_is_too_much_is_dropped_and_not_passed_over(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"proxy.journal.unbooked.{bound}", {"RECORDS_MAX": 3, "BYTES_MAX": 3000}[bound]
    )
    unbooked = filled(2, 4, 6, 8, 10)
    assert unbooked.complete_after == 4
    assert unbooked.behind(3, 9, 100) is None
    assert seqs(unbooked.behind(4, 9, 100)) == [6, 8, 10]
    unbooked.booked(10)
    unbooked.add(12, record("12"), 3000)
    assert seqs(unbooked.behind(10, 9, 100)) == [12], "what is booked counts no more"


def test_behind_a_close_that_is_not_handed_in_all_are_read_from_the_files() -> None:
    unbooked = filled(2, 4)
    unbooked.skip(6)
    unbooked.add(8, record("8"), 1000)
    assert unbooked.behind(5, 9, 100) is None
    assert seqs(unbooked.behind(6, 9, 100)) == [8]


async def test_a_close_that_a_lost_segment_had_is_read_from_the_files(tmp_path: Path) -> None:
    """It is written again, under another seq, and the first copy may be gone."""
    disk = BadDisk()
    async with running(tmp_path, disk=disk) as journal:
        journal.open(opened("a"))
        await until(lambda: journal._syncer.synced_seq == journal.position)
        disk.sync_error = disk_error()
        journal.close(record("a"))
        await until(lambda: not journal.ready)
        disk.sync_error = None
        await until(lambda: journal.ready)
        again = journal.unbooked.complete_after
        assert again > 2
        assert journal.unbooked.behind(again - 1, 9, journal.position) is None
