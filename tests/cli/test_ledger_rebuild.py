"""`tollkeeper ledger rebuild`, with a process and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.admin.test_books import some
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.cli.test_ledger_verify import forge, records

Call = Callable[..., Result]
Book = Callable[..., Path]
DOUBLED = "UPDATE rollups SET charge_nano = charge_nano * 2"


def test_a_dry_run_says_the_differences_and_changes_nothing(call: Call, book: Book) -> None:
    data_dir = book(*records())
    assert call("ledger", "rebuild", "--dry-run").exit_code == 0
    forge(data_dir, DOUBLED)
    for _ in range(2):
        result = call("ledger", "rebuild", "--dry-run")
        assert result.exit_code == 3 and "charge_nano is 42 and must be 21" in result.stdout
    told = json.loads(call("ledger", "rebuild", "--dry-run", "--json").stdout)
    assert (told["ok"], len(told["findings"])) == (False, 1)


def test_it_mends_what_usage_says(call: Call, book: Book) -> None:
    data_dir = book(*records())
    before = call("usage", "--json").stdout
    forge(data_dir, DOUBLED)
    assert call("usage", "--json").stdout != before
    assert call("ledger", "rebuild", piped="n\n").exit_code == 1
    assert call("usage", "--json").stdout != before
    result = call("ledger", "rebuild", "--yes")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "All roll-ups are made of 3 records now.",
    )
    assert call("usage", "--json").stdout == before
    told = json.loads(call("ledger", "rebuild", "--yes", "--json").stdout)
    assert told == {"records": 3, "differences": 0}
    assert call("ledger", "rebuild").stdout == "The roll-ups say what the records say.\n"


def test_changed_records_are_not_made_into_rollups(call: Call, book: Book) -> None:
    data_dir = book(*records())
    forge(data_dir, "DROP TRIGGER records_no_update", "UPDATE records SET charge_nano = 1")
    result = call("ledger", "rebuild", "--yes")
    assert result.exit_code == 1 and "restore the ledger from a backup" in result.stderr
    assert call("ledger", "rebuild", "--json").exit_code == 2


async def test_the_running_process_does_it(tmp_path: Path) -> None:
    from proxy.ledger import Batch
    from tests.ledger.samples import numbered

    async with desk(tmp_path) as admin:
        await admin.proxy.server.services.ledger.book(Batch("w9", numbered(*some(1, 5))))
        forge(tmp_path / "var", "UPDATE rollups SET requests = 9")
        result = await called(tmp_path, "ledger", "rebuild", "--yes")
        assert "requests is 9 and must be 5" in result.stdout
        assert "made of 5 records" in result.stdout
        result = await called(tmp_path, "ledger", "rebuild", "--dry-run")
        assert result.exit_code == 0
