"""What an operator is told of a journal, from outside and beside the process that writes it."""

from __future__ import annotations

from pathlib import Path

from proxy.core.ids import uuid7
from proxy.journal import inspect
from tests.journal.builders import driven, names, opened, record, running, turn


async def test_the_figures_of_a_journal(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        for number in range(130):
            journal.open(opened(f"x{number}"))
            journal.close(record(f"x{number}"))
        journal.booked(100)
        await turn(journal)
        journal.open(opened("running"))
        figures = inspect(journal.directory, 100)
        assert (
            figures.writer,
            figures.in_use,
            figures.last_seq,
            figures.open_exchanges,
            figures.unbooked_closes,
        ) == ("w0", True, 261, 1, 80)
        assert figures.bytes == journal.bytes_on_disk
        assert figures.segments == len(names(journal))
        assert figures.oldest_undone == next(
            name for name in names(journal) if not name.endswith(".gz")
        )
        assert figures.oldest_undone_at_ms is not None
        journal.close(record("running"))
        last = journal.position
    figures = inspect(tmp_path / "w0", last)
    assert (
        figures.in_use,
        figures.open_exchanges,
        figures.unbooked_closes,
        figures.oldest_undone,
        figures.oldest_undone_at_ms,
    ) == (False, 0, 0, None, None)


async def test_looking_keeps_no_process_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "w0").mkdir()
    (tmp_path / "w0" / "lock").touch()
    assert inspect(tmp_path / "w0", 0).last_seq == 0
    async with running(tmp_path) as journal:
        assert journal.writer == "w0"


async def test_the_oldest_that_the_ledger_lacks_is_told_by_when_it_began(tmp_path: Path) -> None:
    async with driven(tmp_path) as journal:
        assert inspect(journal.directory, 0).oldest_started_at_ms is None
        running_id = uuid7(5_000, bytes(10))
        journal.open(opened(running_id))
        assert inspect(journal.directory, 0).oldest_started_at_ms == 5_000
        journal.open(opened("closed"))
        journal.close(record("closed"))
        begun_ms = record("closed").started_at_ms
        assert inspect(journal.directory, 0).oldest_started_at_ms == min(5_000, begun_ms)
        journal.close(record(running_id))
        assert inspect(journal.directory, journal.position).oldest_started_at_ms is None
        journal.open(opened("no time in it"))
        assert inspect(journal.directory, journal.position).oldest_started_at_ms == 0
