"""`tollkeeper ledger erase-user`, with a process and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from proxy.accounting.end_users import lookup_of
from proxy.ledger import Batch, connect
from tests.admin.test_erasure import call_for
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.ledger.samples import make_record

Call = Callable[..., Result]
Book = Callable[..., Path]


async def known(data_dir: Path, *names: str) -> None:
    key = (data_dir / "ledger.key").read_bytes()
    ledger = await connect("sqlite:ledger.db", data_dir)
    salts = [(lookup_of(key, name), name.encode()) for name in names]
    await ledger.book(Batch("w1", salts=salts))
    await ledger.aclose()


def test_without_a_process_the_command_does_it_itself(call: Call, book: Book) -> None:
    data_dir = book(make_record(1, end_user="a" * 32))
    asyncio.run(known(data_dir, "ann", "用户"))
    before = call("usage", "--by", "end_user", "--json").stdout
    assert call("ledger", "erase-user", "ann", piped="n\n").exit_code == 1
    result = call("ledger", "erase-user", "ann", "--reason", "why not", piped="y\n")
    assert result.exit_code == 0 and result.stdout.startswith("Erased. "), result.output
    result = call("ledger", "erase-user", "ann", "--yes")
    assert result.exit_code == 1 and "check the spelling" in result.stderr
    result = call("ledger", "erase-user", "--stdin", "--yes", "--json", piped="用户\n")
    assert json.loads(result.stdout) == {"erased": True}
    assert call("usage", "--by", "end_user", "--json").stdout == before
    assert call("ledger", "verify").exit_code == 0
    listed = call("audit", "list")
    assert listed.stdout.count("end_user.erase") == 2 and "why not" in listed.stdout
    assert "ann" not in listed.stdout and "用户" not in listed.stdout


def test_a_name_has_to_be_given_once(call: Call, book: Book) -> None:
    book(make_record(1))
    assert call("ledger", "erase-user").exit_code == 2
    assert call("ledger", "erase-user", "ann", "--stdin").exit_code == 2
    assert call("ledger", "erase-user", "--stdin", piped="ann").exit_code == 2
    result = call("ledger", "erase-user", "a\tb", "--yes")
    assert result.exit_code == 1 and "not printable" in result.stderr


def test_a_ledger_whose_key_is_gone_is_told(call: Call, book: Book) -> None:
    data_dir = book(make_record(1))
    (data_dir / "ledger.key").unlink()
    result = call("ledger", "erase-user", "ann", "--yes")
    assert result.exit_code == 1 and "the key that seals this ledger is missing" in result.stderr
    assert not (data_dir / "ledger.key").exists()


async def test_the_running_process_does_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        await call_for(admin, "ann")
        await admin.proxy.records(1)
        result = await called(tmp_path, "ledger", "erase-user", "ann", "--yes")
        assert result.exit_code == 0, result.output
        await call_for(admin, "ann")
        first, second = await admin.proxy.records(2)
        assert first["end_user"] != second["end_user"]
