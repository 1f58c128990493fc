"""An older backup of the ledger is put back: the journal brings what came after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.cli.test_desk import called
from tests.ledger.whole_book import reader_of, verified
from tests.support.process import proxy_process
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = json.dumps({"model": "m", "choices": [{"message": {"content": "x"}}], "usage": USAGE})
ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}).encode()
ANEW = ("booked_at_ms", "prev_hash", "hash")
DRILL = re.findall(
    r"^```sh\n(.*?)^```$",
    (Path(__file__).parent.parent.parent / "docs" / "keeping.md").read_text(),
    re.DOTALL | re.MULTILINE,
)


async def script(visit: Visit) -> None:
    await visit.answer(ANSWER.encode())


async def ask(proxy: Running, times: int) -> None:
    client = await RawClient.connect(proxy.address)
    for _ in range(times):
        await client.post(ASK)
        assert (await client.answer()).status == 200
    await client.aclose()


def as_they_were(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Without what a second booking makes anew: what was left open lasts until it is found."""
    return [
        {
            name: row[name]
            for name in row
            if name not in ANEW and (name, row["origin"]) != ("duration_ms", "recovery")
        }
        for row in rows
    ]


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


def rows_of(path: Path) -> list[dict[str, object]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM records ORDER BY seq")]


async def drilled(directory: Path, step: int) -> str:
    """Runs one block of the page in a shell, its /backup in this directory; what it printed."""
    (directory / "backup").mkdir(exist_ok=True)
    script = "set -e\n" + DRILL[step].replace("/backup", f"{directory}/backup")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run,
        ["/bin/sh", "-c", script],
        cwd=directory,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


async def load(address: str, answered: list[int]) -> None:
    """Asks until the process is gone."""
    client = await RawClient.connect(address)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            await client.post(ASK)
            answer = await client.answer()
            assert answer.status == 200
            if answer.whole:
                answered.append(1)
    client.leave()


async def test_the_drill_of_the_docs_brings_back_a_lost_ledger(tmp_path: Path) -> None:
    """A backup under load, then `kill -9` under load, then the ledger is lost. Beside it stands the
    same directory, whose ledger was not lost."""
    held: list[Visit] = []

    async def most_are_answered(visit: Visit) -> None:
        if b"hold" in visit.body:
            held.append(visit)
            await visit.reader.read()
        else:
            await visit.answer(ANSWER.encode())

    answered: list[int] = []
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    async with raw_upstream(most_are_answered) as upstream:
        with proxy_process(home, upstream.url, data_dir="./var") as proxy:
            clients = [asyncio.create_task(load(proxy.address, answered)) for _ in range(4)]
            left_open = await RawClient.connect(proxy.address)
            await left_open.post(ASK.replace(b"xxxx", b"hold", 1))
            await until(lambda: held and len(answered) > 50)
            said = await drilled(home, 0)
            assert "as it was written" in said
            enough = len(answered) + 200
            await until(lambda: len(answered) > enough)
            proxy.signal(signal.SIGKILL)
            await asyncio.gather(*clients)
            left_open.leave()
    shutil.copytree(home, kept, ignore=shutil.ignore_patterns("*.sock"))
    (home / "var" / "ledger.db").write_bytes(b"lost")
    said = await drilled(home, 1)
    assert (await called(kept, "ledger", "replay")).exit_code == 0
    lost, ledger = (where / "var" / "ledger.db" for where in (home, kept))
    backed_up, before, after = map(rows_of, (home / "backup" / "ledger.db", ledger, lost))
    assert f"Booked: {len(after) - len(backed_up):,} records" in said, said
    assert before[: len(backed_up)] == after[: len(backed_up)] == backed_up
    assert as_they_were(after) == as_they_were(before)
    assert len(answered) < len(after) and len(backed_up) + 100 < len(after)
    assert "interrupted" in {row["outcome"] for row in after}
    by = ("team", "key", "model", "outcome", "source")
    assert len(
        {
            json.dumps(reader_of(path).usage(by, None, None, ZoneInfo("UTC")))
            for path in (ledger, lost)
        }
    ) == 1  # fmt: skip
    assert not verified(lost).found and not verified(ledger).found
    async with running(home, config("http://127.0.0.1:9", data_dir="./var")) as again:
        await again.records(len(after))  # the next start books none of it again
