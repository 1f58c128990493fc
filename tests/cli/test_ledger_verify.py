"""`tollkeeper ledger verify`: the exit code, what is printed, and the key."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from proxy.core.usage import UsageRecord
from tests.ledger.samples import make_record

Call = Callable[..., Result]
Book = Callable[..., Path]


def forge(data_dir: Path, *statements: str) -> None:
    with sqlite3.connect(data_dir / "ledger.db") as other:
        for statement in statements:
            other.execute(statement)
    other.close()


def records() -> list[UsageRecord]:
    return [make_record(n, cost_nano=5, charge_nano=7, currency="USD") for n in range(3)]


def test_a_sound_book_ends_with_0(call: Call, book: Book) -> None:
    book(*records())
    result = call("ledger", "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "Everything up to seq 3 is as it was written."
    told = json.loads(call("ledger", "verify", "--json").stdout)
    assert (told["ok"], told["findings"], told["through"]) == (True, [], 3)


def test_a_doubled_rollup_ends_with_3_and_names_it(call: Call, book: Book) -> None:
    """What `usage` shows today is read from the roll-ups."""
    data_dir = book(*records())
    forge(data_dir, "UPDATE rollups SET charge_nano = charge_nano * 2")
    result = call("ledger", "verify")
    assert result.exit_code == 3
    assert "charge_nano is 42 and must be 21" in result.stdout.splitlines()[0]
    told = json.loads(call("ledger", "verify", "--json").stdout)
    assert not told["ok"] and told["findings"][0]["part"] == "rollups"


def test_a_changed_record_is_named_first(call: Call, book: Book) -> None:
    data_dir = book(*records())
    forge(data_dir, "DROP TRIGGER records_no_update", "UPDATE records SET team = 'x' WHERE seq > 1")
    result = call("ledger", "verify")
    assert result.exit_code == 3
    assert result.stdout.startswith(f"record seq 2 id {make_record(1).id!r}: changed since")


def test_seals_need_their_key(call: Call, book: Book, tmp_path: Path) -> None:
    data_dir = book(*records())
    (data_dir / "ledger.key").rename(tmp_path / "elsewhere.key")
    result = call("ledger", "verify", "--data-dir", str(data_dir))
    assert result.exit_code == 0 and "2 seals could not be checked" in result.stdout
    result = call(
        "ledger", "verify", "--data-dir", str(data_dir), "--key", str(tmp_path / "elsewhere.key")
    )
    assert result.exit_code == 0 and "could not be checked" not in result.stdout
    (tmp_path / "elsewhere.key").write_text("no key")
    result = call("ledger", "verify", "--key", str(tmp_path / "elsewhere.key"))
    assert result.exit_code == 1 and "is not hexadecimal" in result.stderr


def test_no_ledger_is_1(call: Call, home: Path) -> None:
    result = call("ledger", "verify")
    assert result.exit_code == 1 and "tollkeeper serve" in result.stderr


def test_a_long_list_says_how_many_there_are_more(call: Call, book: Book) -> None:
    data_dir = book(*(make_record(n) for n in range(64)))
    forge(
        data_dir,
        "DROP TRIGGER records_no_update",
        "DROP TRIGGER heads_no_delete",
        "UPDATE records SET duration_ms = 1",
        "DELETE FROM rollups",
        "DELETE FROM heads",
    )
    forge(data_dir, *(f"INSERT INTO rollups SELECT {n}, 'k', null, null, 'u', null, 1, null, null,"
                      " null, null, null, null, null, 1, 1, null, null" for n in range(200)))  # fmt: skip
    result = call("ledger", "verify")
    assert result.exit_code == 3 and "more." in result.stdout


def test_several_processes_say_what_one_says(call: Call, book: Book) -> None:
    data_dir = book(*records())
    one = call("ledger", "verify")
    several = call("ledger", "verify", "--jobs", "2")
    assert (several.exit_code, several.stdout) == (0, one.stdout)
    forge(data_dir, "UPDATE rollups SET charge_nano = charge_nano * 2")
    one = call("ledger", "verify", "--json")
    several = call("ledger", "verify", "--jobs", "2", "--json")
    assert (several.exit_code, several.stdout) == (3, one.stdout)


def test_a_process_elsewhere_is_asked_by_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLKEEPER_ADMIN_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TOLLKEEPER_ADMIN_TOKEN", "t" * 32)
    result = call("ledger", "verify", "--jobs", "2")
    assert result.exit_code == 1 and "verify a copy" in result.stderr


@pytest.mark.whole
def test_a_process_that_the_system_ends_is_told_with_what_to_do(book: Book, tmp_path: Path) -> None:
    data_dir = book(*records())
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
    )
    words = ["ledger", "verify", "--data-dir", str(data_dir), "--jobs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "verify again with fewer --jobs" in done.stderr, done.stderr
