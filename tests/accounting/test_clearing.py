"""How far a process has booked what it began."""

from __future__ import annotations

from pathlib import Path

from proxy.accounting.clearing import clear_ms
from proxy.core.ids import uuid7
from tests.journal.builders import opened, record, running

NOW_MS = 2_000_000_000_000


async def test_it_is_the_oldest_of_what_runs_and_of_what_waits_for_the_ledger(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as journal:
        assert clear_ms(journal, NOW_MS) == NOW_MS
        assert clear_ms(journal, NOW_MS, 4_000) == 4_000, "it is not in the journal yet"
        first, second = uuid7(5_000, bytes(10)), uuid7(7_000, bytes(10))
        journal.open(opened(first))
        journal.open(opened(second))
        assert clear_ms(journal, NOW_MS) == 5_000
        journal.close(record(first))
        begun_ms = record(first).started_at_ms
        assert clear_ms(journal, NOW_MS) == min(7_000, begun_ms)
        journal.close(record(second))
        assert clear_ms(journal, NOW_MS) == begun_ms
        journal.booked(journal.position)
        assert clear_ms(journal, NOW_MS) == NOW_MS
        journal.open(opened("an id without a time"))
        assert clear_ms(journal, NOW_MS) == 0


async def test_what_an_earlier_life_left_in_files_is_not_booked_until_the_ledger_says_so(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as journal:
        journal.open(opened("x"))
        journal.close(record("x"))
    async with running(tmp_path) as journal:
        assert clear_ms(journal, NOW_MS) == 0
        journal.continue_after(journal.position)
        assert clear_ms(journal, NOW_MS) == NOW_MS
