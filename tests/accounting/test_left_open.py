"""A start whose ledger is away takes its journal as it is, and recovers once the ledger is back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from proxy.accounting.left_open import closed_between, tell_skipped
from proxy.core.entries import Marked
from proxy.journal import Recovered
from tests.accounting.test_recorder import Life, ids, living, make_id, opening
from tests.support.waiting import GUARD_S


async def begun(life: Life) -> None:
    """Let the recorder go on by itself, as when the ledger is back."""
    running = asyncio.create_task(life.recorder.run())
    try:
        assert await life.recorder.drain(GUARD_S)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_what_was_left_open_is_charged_once_the_ledger_is_back(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.end(0)
        life.journal.open(opening(1))
        life.journal.mark(Marked(id=make_id(1), output_tokens=512))
        assert await life.recorder.drain(GUARD_S)
    async with living(tmp_path, late=True) as life:
        life.end(2, 3)
        assert not life.recorder.recovered.is_set()
        assert life.recorder.backlog == 2
        await begun(life)
        assert sorted(life.booked()) == ids(0, 1, 2, 3)
        assert life.booked("SELECT outcome FROM records ORDER BY id")[1] == "interrupted"
        assert life.recorder.backlog == 0
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        assert life.booked("SELECT count(*) FROM records") == [4]


@pytest.mark.parametrize("meanwhile", [1, 3, 9])
async def test_what_an_older_journal_closes_is_booked_although_its_numbers_are(
    tmp_path: Path, meanwhile: int
) -> None:
    """As after a data directory was restored from a backup: the ledger has more of the journal."""
    older = tmp_path / "older"
    async with living(tmp_path) as life:
        life.end(0)
        assert await life.recorder.drain(GUARD_S)
    shutil.copytree(tmp_path / "journal", older)
    async with living(tmp_path) as life:
        life.end(1, 2, 3)
        assert await life.recorder.drain(GUARD_S)
    shutil.rmtree(tmp_path / "journal")
    older.rename(tmp_path / "journal")
    later = range(10, 10 + meanwhile)
    async with living(tmp_path, late=True) as life:
        life.end(*later)
        await begun(life)
        life.end(30)
        await begun(life)
        assert sorted(life.booked()) == ids(0, 1, 2, 3, *later, 30)
        assert life.booked("SELECT count(*) FROM records WHERE kind = 'adjustment'") == [0]


async def test_a_part_of_a_journal_is_read(tmp_path: Path) -> None:
    async with living(tmp_path, booking=False) as life:
        began = life.journal.position
        life.end(*range(70))
        closed = closed_between(life.journal.directory, began + 2, began + 10)
        assert [record.id for record in closed] == ids(1, 2, 3, 4)


def test_damage_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = Recovered(unresolved=[], last_seq=1, frames=1, skipped_bytes=0, skipped=(), unopened=0)
    tell_skipped(tmp_path, whole)
    assert not caplog.text
    damaged = Recovered(
        unresolved=[], last_seq=1, frames=1, skipped_bytes=9, skipped=(), unopened=2
    )
    tell_skipped(tmp_path, damaged)
    assert "9 damaged bytes" in caplog.text and "2 exchanges" in caplog.text
