"""What journals have beyond a ledger is told, booked once, and what is gone is missed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxy.accounting.replay import Replayed, look, replay
from proxy.config.settings import MetricsSettings
from proxy.journal import Journal
from proxy.ledger import connect, connect_reader
from proxy.ledger.backups import back_up
from proxy.metrics.collector import Metrics
from tests.accounting.test_recorder import PRICES, SMALL, URL, living, opening
from tests.ledger.samples import make_id, make_record
from tests.support.journals import journal_options


async def replayed(directory: Path) -> Replayed:
    ledger = await connect(URL, directory)
    try:
        return await replay(
            directory / "journal",
            journal_options(),
            ledger,
            connect_reader(URL, directory),
            Metrics(MetricsSettings(), "1"),
            PRICES,
        )
    finally:
        await ledger.aclose()


async def restored(directory: Path) -> None:
    """A ledger of two records, from before the journal's next three and one that is open."""
    async with living(directory) as life:
        life.end(1, 2)
        await life.recorder.drain(600)
    shutil.copy(directory / "ledger.db", directory / "earlier.db")
    async with living(directory) as life:
        life.end(3, 4, 5)
        await life.recorder.drain(600)
        life.journal.open(opening(6))
    for path in directory.glob("ledger.db*"):
        path.unlink()
    (directory / "earlier.db").rename(directory / "ledger.db")


async def test_a_restored_ledger_gets_what_the_journal_has(tmp_path: Path) -> None:
    await restored(tmp_path)
    [found] = look(tmp_path / "journal", connect_reader(URL, tmp_path))
    assert (found.writer, found.ended, found.open, found.is_whole) == ("w0", 3, 1, True)
    assert not found.in_use
    done = await replayed(tmp_path)
    assert list(done.journals) == [found]
    assert (done.settled, done.records, done.adjustments, done.last_seq) == (1, 4, 0, 6)
    assert (await replayed(tmp_path)).records == 0, "all of it is booked"
    reader = connect_reader(URL, tmp_path)
    assert done.last_hash == reader.status().last_hash
    assert all(reader.record(make_id(n)) is not None for n in range(1, 7))
    [found] = look(tmp_path / "journal", reader)
    assert (found.ended, found.open) == (0, 0)


async def test_what_the_journal_no_longer_keeps_is_missed(tmp_path: Path) -> None:
    """The backup is older than `journal.keep`."""
    async with living(tmp_path, options=SMALL) as life:
        life.end(1)
        await life.recorder.drain(600)
        key_file = tmp_path / "ledger.key"
        back_up(URL, tmp_path, tmp_path / "earlier.db", key_file=key_file)
    async with living(tmp_path, options=SMALL) as life:
        for n in range(2, 400):
            life.end(n)
        await life.recorder.drain(600)
    shutil.move(tmp_path / "earlier.db", tmp_path / "ledger.db")
    for path in tmp_path.glob("ledger.db-*"):
        path.unlink()
    files = sorted((tmp_path / "journal" / "w0").glob("*.seg*"))
    assert len(files) > 3
    for file in files[:2]:  # those of the first life and of the beginning of the second
        file.unlink()
    done = await replayed(tmp_path)
    [found] = done.journals
    assert found.missing and not found.is_whole
    assert 0 < done.records == found.ended < 398
    assert connect_reader(URL, tmp_path).record(make_id(2)) is None


async def test_the_journal_of_a_running_process_is_left_to_it(tmp_path: Path) -> None:
    await restored(tmp_path)
    other = Journal.claim(tmp_path / "journal", journal_options(), name="w7")
    other.open(opening(9))
    other.close(make_record(9, writer="w7"))
    done = await replayed(tmp_path)
    assert [(one.writer, one.in_use) for one in done.journals] == [("w0", False), ("w7", True)]
    assert done.records == 4
    assert connect_reader(URL, tmp_path).record(make_id(9)) is None
    await other.aclose()
    assert (await replayed(tmp_path)).records == 1


async def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    await restored(tmp_path)
    [file] = [
        path
        for path in sorted((tmp_path / "journal" / "w0").glob("*.seg"))
        if make_id(4).encode() in path.read_bytes()
    ]
    data = bytearray(file.read_bytes())
    place = data.rindex(make_id(4).encode())
    data[place] ^= 1
    file.write_bytes(data)
    done = await replayed(tmp_path)
    [found] = done.journals
    assert found.skipped_bytes and found.missing == 1 and not found.is_whole


@pytest.mark.parametrize("name", ["journal", "journal/w0"])
async def test_a_directory_without_a_journal_has_nothing_to_book(tmp_path: Path, name: str) -> None:
    async with living(tmp_path) as life:
        life.end(1)
        await life.recorder.drain(600)
    shutil.rmtree(tmp_path / name)
    done = await replayed(tmp_path)
    assert (list(done.journals), done.records) == ([], 0)
