"""A journal of another ledger is known by what it has as booked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxy.accounting.belonging import stranger
from proxy.accounting.replay import look
from proxy.ledger import LedgerError, connect_reader
from tests.accounting.test_replay import URL, living, replayed, restored
from tests.ledger.samples import make_id


async def lived(directory: Path, *numbers: int) -> None:
    async with living(directory) as life:
        life.end(*numbers)
        await life.recorder.drain(600)


async def test_a_journal_that_was_put_beside_another_ledger_is_refused(tmp_path: Path) -> None:
    """Its first records would be skipped, and the rest be in a book of others for good."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
    await lived(ours, 1, 2)
    await lived(theirs, 11, 12, 13, 14)
    shutil.rmtree(ours / "journal")
    shutil.copytree(theirs / "journal", ours / "journal")
    [found] = look(ours / "journal", connect_reader(URL, ours))
    assert found.stranger == make_id(12) and not found.is_whole
    with pytest.raises(LedgerError, match=r"w0 is of another ledger: its record .* Move"):
        await replayed(ours)
    reader = connect_reader(URL, ours)
    assert reader.head() == 2 and reader.record(make_id(13)) is None
    shutil.rmtree(ours / "journal")
    assert (await replayed(ours)).records == 0


async def test_a_journal_of_the_own_ledger_is_none(tmp_path: Path) -> None:
    """Also beside an earlier ledger, beside a new one, and where all is booked."""
    await restored(tmp_path)
    reader, w0 = connect_reader(URL, tmp_path), tmp_path / "journal" / "w0"
    for position in (0, 1, 2, 3, 4):
        assert stranger(w0, position, reader) is None
    await replayed(tmp_path)
    position = reader.status().writers["w0"]
    assert stranger(w0, position, reader) is None
