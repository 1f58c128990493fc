"""A start says whether the newest part of the book is sound, and serves in any case."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from proxy.ledger import Batch
from tests.ledger.samples import make_record, numbered
from tests.support.running import config, running


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    words = ("newest", "changed")
    return [text for text in caplog.messages if any(word in text for word in words)]


async def test_a_start_says_what_was_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tollkeeper.server")
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        assert told(caplog) == ["the newest 0 records and their roll-ups are as they were written"]
        records = numbered(*map(make_record, range(5)))
        await proxy.server.services.ledger.book(Batch("w9", records))
        path = proxy.server.services.reader.name
    caplog.clear()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE rollups SET requests = requests * 2")
        other.execute("DROP TRIGGER records_no_update")
        other.execute("UPDATE records SET team = 'x' WHERE seq > 1")
    other.close()
    async with running(tmp_path, config("http://127.0.0.1:9/v1")):
        lines = told(caplog)
    assert len(lines) == 4, lines
    assert "record seq 2 id" in lines[0] and "has 6 flaws in its newest part" in lines[-1]
