"""`tollkeeper ledger anchor` and `ledger verify --anchor`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.cli.test_ledger_verify import forge, records
from tests.ledger.samples import make_record

Call = Callable[..., Result]
Book = Callable[..., Path]


def test_an_anchor_is_one_line_that_verify_takes(call: Call, book: Book, home: Path) -> None:
    data_dir = book(*records())
    taken = call("ledger", "anchor").stdout
    assert taken.count("\n") == 1 and json.loads(taken)["seq"] == 3
    (home / "anchors.jsonl").write_text(taken)
    book(make_record(9))
    result = call("ledger", "verify", "--anchor", "anchors.jsonl")
    assert result.exit_code == 0 and "\nanchor " in result.stdout
    forge(
        data_dir,
        "DROP TRIGGER records_no_delete",
        "DROP TRIGGER heads_no_delete",
        "DELETE FROM records WHERE seq > 0",
        "DELETE FROM heads",
        "DELETE FROM rollups",
    )
    assert call("ledger", "verify").exit_code == 0
    result = call("ledger", "verify", "--anchor", "anchors.jsonl")
    assert result.exit_code == 3 and "they end at 0 now" in result.stdout


def test_what_is_no_anchor_is_refused(call: Call, book: Book, home: Path) -> None:
    book(*records())
    (home / "x").write_text("nothing")
    result = call("ledger", "verify", "--anchor", "x")
    assert result.exit_code == 1 and "x: line 1 is no anchor" in result.stderr
    (home / "x").write_bytes(b"\xff\xfe")
    assert call("ledger", "verify", "--anchor", "x").exit_code == 1
    assert call("ledger", "verify", "--anchor", "nowhere").exit_code == 2


def test_an_empty_ledger_has_no_anchor(call: Call, book: Book) -> None:
    book()
    result = call("ledger", "anchor")
    assert result.exit_code == 1 and "nothing to anchor" in result.stderr
