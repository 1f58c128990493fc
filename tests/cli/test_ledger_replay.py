"""`tollkeeper ledger replay`: what it tells, and when it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from proxy.journal import Journal
from tests.accounting.test_recorder import opening
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.ledger.samples import make_record
from tests.support.journals import journal_options

Call = Callable[..., Result]
Book = Callable[..., Path]


async def leave(data_dir: Path, *numbers: int) -> None:
    journal = Journal.claim(data_dir / "journal", journal_options(), name="w5")
    for n in numbers:
        journal.open(opening(n))
        journal.close(make_record(n, writer="w5"))
    journal.open(opening(50))
    await journal.aclose()


def test_it_tells_what_it_will_book_and_what_it_booked(call: Call, book: Book) -> None:
    data_dir = book(make_record(1))
    asyncio.run(leave(data_dir, 2, 3))
    result = call("ledger", "replay", "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split() == ["w5", "0", "2", "1", "none"]
    assert "Nothing was booked." in result.stdout
    told = json.loads(call("ledger", "replay", "--json").stdout)
    assert (told["records"], told["settled"], told["last_seq"]) == (3, 1, 4)
    result = call("ledger", "replay")
    assert result.stdout.splitlines()[1].split()[2:] == ["0", "0", "none"]
    assert "Booked: 0 records" in result.stdout and "head: seq 4, hash" in result.stdout
    assert call("ledger", "verify").exit_code == 0


def test_what_is_gone_from_a_journal_is_exit_code_3(call: Call, book: Book) -> None:
    data_dir = book(make_record(1))
    asyncio.run(leave(data_dir, 2))
    [file] = list((data_dir / "journal" / "w5").glob("*1.seg"))
    data = bytearray(file.read_bytes())
    data[data.rindex(b'"alice"')] ^= 1
    data[data.index(b'"alice"')] ^= 1
    file.write_bytes(data)
    result = call("ledger", "replay", "--dry-run")
    assert result.exit_code == 3 and "missing" in result.stdout, result.output


def test_without_a_ledger_none_is_made(call: Call, home: Path) -> None:
    result = call("ledger", "replay")
    assert result.exit_code == 1 and "no ledger" in result.stderr
    assert not (home / "var" / "ledger.db").exists()


async def test_it_leaves_the_work_to_a_running_process(tmp_path: Path) -> None:
    async with desk(tmp_path):
        result = await called(tmp_path, "ledger", "replay")
        assert result.exit_code == 1 and "its start booked" in result.stderr
