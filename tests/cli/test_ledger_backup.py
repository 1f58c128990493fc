"""`tollkeeper ledger backup`, as people call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from proxy.cli import admin_client
from tests.ledger.samples import make_record

Call = Callable[..., Result]
Book = Callable[..., Path]


def test_a_backup_is_made_and_says_what_is_not_in_it(call: Call, book: Book, home: Path) -> None:
    data_dir = book(make_record(1), make_record(2))
    result = call("ledger", "backup", "copy.db")
    assert result.exit_code == 0, result.output
    assert "head      seq 2, " in result.stdout and "verified  as it was written" in result.stdout
    assert f"Not in it: {data_dir / 'ledger.key'}, and the journal." in result.stdout
    again = call("ledger", "backup", "copy.db")
    assert again.exit_code == 1 and "copy.db exists" in again.stderr
    told = json.loads(call("ledger", "backup", "copy.db", "--force", "--json").stdout)
    assert (told["last_seq"], told["verified"]) == (2, True)
    (home / "other").mkdir()
    (home / "copy.db").rename(home / "other" / "ledger.db")
    key = ("--key", str(data_dir / "ledger.key"))
    assert call("ledger", "verify", "--data-dir", "other", *key).exit_code == 0


def test_a_copy_of_a_directory_is_backed_up_without_a_config(
    call: Call, book: Book, home: Path
) -> None:
    data_dir = book(make_record(1))
    (data_dir / "ledger.key").unlink()
    (home / "config.yaml").unlink()
    result = call("ledger", "backup", "copy.db", "--data-dir", str(data_dir), "--no-verify")
    assert result.exit_code == 0 and "verified  not checked" in result.stdout, result.output
    assert "Not in it: any key, and the journal" in result.stdout
    result = call("ledger", "backup", "copy2.db", "--data-dir", str(data_dir))
    assert "; 2 seals not checked, as their key is not here" in result.stdout, result.stdout


def test_postgresql_has_its_own_tools(call: Call, home: Path) -> None:
    config = (home / "config.yaml").read_text()
    (home / "config.yaml").write_text(config + "ledger: {url: 'postgresql://u@db/x'}\n")
    result = call("ledger", "backup", "copy.db")
    assert result.exit_code == 2 and "pg_dump" in result.stderr, result.output


def test_a_ledger_elsewhere_is_backed_up_there(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(admin_client.URL, "http://127.0.0.1:9")
    result = call("ledger", "backup", "copy.db")
    assert result.exit_code == 1 and "run it there" in result.stderr
