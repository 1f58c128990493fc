"""Readiness: starting, serving, stopping, and a journal that refuses, in a code, in words and in the
log."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.journal import JournalUnavailable
from proxy.server.readiness import Readiness
from tests.journal.builders import BadDisk, disk_error, driven, opened


async def test_it_says_why_it_is_not_ready_and_tells_a_change_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = BadDisk()
    async with driven(tmp_path, disk=disk) as journal:
        readiness = Readiness(journal)
        assert (readiness.code(), readiness.reason()) == ("starting", "the process is starting")
        readiness.serve()
        assert (readiness.code(), readiness.reason()) == (None, None)
        disk.on_write = lambda data, offset: disk_error()
        with pytest.raises(JournalUnavailable):
            journal.open(opened("a"))
        assert readiness.code() == "journal_unavailable"
        assert "the journal cannot be written" in (readiness.reason() or "")
        readiness.tell()
        readiness.tell()
        disk.on_write = lambda data, offset: None
        assert journal._appender.repair()
        readiness.tell()
        readiness.tell()
        readiness.drain()
        assert (readiness.code(), readiness.reason()) == ("draining", "the process is stopping")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
