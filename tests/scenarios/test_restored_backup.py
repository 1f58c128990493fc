"""An older backup of the ledger is put back: the journal brings what came after it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = json.dumps({"model": "m", "choices": [{"message": {"content": "x"}}], "usage": USAGE})
ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}).encode()
ANEW = ("booked_at_ms", "prev_hash", "hash")


async def script(visit: Visit) -> None:
    await visit.answer(ANSWER.encode())


async def ask(proxy: Running, times: int) -> None:
    client = await RawClient.connect(proxy.address)
    for _ in range(times):
        await client.post(ASK)
        assert (await client.answer()).status == 200
    await client.aclose()


def as_they_were(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: row[name] for name in row if name not in ANEW} for row in rows]


@pytest.mark.parametrize(("segment", "more"), [("1MiB", 20), ("256KiB", 600)], ids=["one", "many"])
async def test_a_start_books_what_the_journal_keeps_behind_the_backup(
    tmp_path: Path, segment: str, more: int
) -> None:
    """From one file of the journal, and from many."""
    ledger, backup = tmp_path / "ledger.db", tmp_path / "backup.db"
    async with raw_upstream(script) as upstream:
        settings = config(upstream.url, journal={"segment": segment, "keep": "7d"})
        async with running(tmp_path, settings) as proxy:
            await ask(proxy, 2)
            await proxy.records(2)
            with (
                contextlib.closing(sqlite3.connect(ledger)) as source,
                contextlib.closing(sqlite3.connect(backup)) as target,
            ):
                source.backup(target)
            await ask(proxy, more)
            files = len(list(tmp_path.rglob("*.seg*")))
            assert (files > 2) == (more > 20)  # the next one is made ahead
            before = await proxy.records(2 + more)
        for beside in tmp_path.glob("ledger.db-*"):
            beside.unlink()
        backup.rename(ledger)
        async with running(tmp_path, settings) as proxy:
            after = await proxy.records(2 + more)
            await ask(proxy, 1)
            await proxy.records(3 + more)
            assert proxy.query("SELECT sum(requests) AS n FROM rollups") == [{"n": 3 + more}]
    assert as_they_were(after) == as_they_were(before)
    assert after[:2] == before[:2]
