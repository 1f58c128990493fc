"""Faults in the whole journal: at each named place, and a disk that refuses to the end, no exchange
is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.journal import Journal, JournalReader, JournalUnavailable, recover
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.server.failpoints import NAMES, Failpoints
from tests.journal.builders import (
    SMALL,
    BadDisk,
    all_closes,
    disk_error,
    marked,
    opened,
    record,
    running,
    until,
    voided,
)
from tests.support.journals import journal_options


async def test_what_waits_is_written_at_the_end_at_the_latest(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal.claim(tmp_path, SMALL, disk=disk)
    journal.open(opened("a"))
    disk.on_write = lambda data, offset: disk_error()
    journal.close(record("a"))
    disk.on_write = lambda data, offset: None
    await journal.aclose()
    assert [closed.id for _, closed in all_closes(tmp_path / "w0", 10**9)] == ["a"]


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("journal.")])
async def test_every_fault_within_loses_and_doubles_nothing(
    tmp_path: Path, name: str, action: str
) -> None:
    """The same work under a fault at each named place: every exchange is admitted and ended, or
    refused without a trace."""
    fail = Failpoints(f"{name}={action}@3")
    options = journal_options(
        interval_s=0.001, keep_s=0.0 if "delete" in name else 60.0, segment_bytes=SEGMENT_BYTES_MIN
    )
    expected: list[str] = []
    seen: list[str] = []
    async with running(tmp_path, options, fail) as journal:
        reader = JournalReader(journal.directory)
        for number in range(400):
            await until(lambda: journal.ready)
            try:
                journal.open(opened(f"x{number}"))
            except JournalUnavailable:
                continue
            if number % 3 == 0:
                try:
                    journal.mark(marked(f"x{number}"))
                except JournalUnavailable:
                    await until(lambda: journal.ready)
            if number % 5 == 0:
                journal.void(voided(f"x{number}"))
            else:
                expected.append(f"x{number}")
                journal.close(record(f"x{number}"))
            if number % 20 == 0:
                await asyncio.sleep(0)
                seen += [closed.id for _, closed in reader.closes(1000, journal.position)]
                journal.booked(reader.last_seq)
                journal._maintenance.tidy_soon()
        await until(lambda: fail._passes[name] >= 3, journal)
        await until(lambda: journal.ready)
        seen += [closed.id for _, closed in reader.closes(1000, journal.position)]
        reader.close()
        assert recover(journal.directory).unresolved == []
    assert list(dict.fromkeys(seen)) == expected
