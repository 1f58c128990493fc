"""`tollkeeper statement close` and what `statement show` says of a closed month."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from proxy.ledger import Batch
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.ledger.samples import make_record, numbered

Call = Callable[..., Result]
Book = Callable[..., Path]
OCTOBER_MS = 1_791_000_000_000  # 2026-10-03
MONEY = {
    "cost_nano": 1_500_000, "charge_nano": 2_000_000, "currency": "USD", "price_version": "p1",
    "started_at_ms": OCTOBER_MS,
}  # fmt: skip


def test_a_closed_month_is_shown_as_it_was_closed(call: Call, book: Book) -> None:
    book(make_record(0, **MONEY))
    closed = call("statement", "close", "2026-10")
    assert closed.exit_code == 0, closed.output
    assert "Statement 1, closed on" in closed.stdout and "SHA-256" in closed.stderr
    forms = {form: call("statement", "show", "2026-10", "--format", form).stdout
             for form in ("md", "html", "csv", "json")}  # fmt: skip
    assert forms["md"] == closed.stdout
    book(make_record(1, **MONEY), make_record(2, team="sales", **MONEY))
    for form, text in forms.items():
        again = call("statement", "show", "2026-10", "--format", form)
        assert (again.exit_code, again.stdout) == (0, text)
    november = call("statement", "show", "2026-11").stdout
    assert "## Corrections of earlier months" in november and "| 2026-10 | sales |" in november
    table = call("statement", "show", "2026-11", "--format", "csv")
    assert "corrections of earlier months are not in the csv" in table.stderr
    assert "With them 0.004 USD of charge is due" in table.stderr
    audit = json.loads(call("audit", "list", "--json").stdout)
    assert [(one["action"], one["name"]) for one in audit] == [("statement.close", "2026-10")]


def test_a_book_that_says_something_else_now_is_told(call: Call, book: Book) -> None:
    data_dir = book(make_record(0, **MONEY))
    assert call("statement", "close", "2026-10", "--json").exit_code == 0
    forger = sqlite3.connect(data_dir / "ledger.db", isolation_level=None)
    for trigger in ("records_no_update", "statements_no_update"):
        forger.execute(f"DROP TRIGGER {trigger}")
    forger.execute("UPDATE records SET charge_nano = charge_nano + 1")
    shown = call("statement", "show", "2026-10")
    assert shown.exit_code == 3 and "0.002 |" in shown.stdout
    assert "WARNING: not what the ledger says now: due: the statement says" in shown.stderr
    forger.execute("UPDATE statements SET document = CAST(document || ' ' AS BLOB)")
    forger.close()
    shown = call("statement", "show", "2026-10")
    assert shown.exit_code == 1 and "is not as it was closed" in shown.stderr
    assert "it was changed since it was closed" in call("ledger", "verify").stdout


def test_what_cannot_be_closed_or_shown_says_why(call: Call, book: Book, home: Path) -> None:
    book(make_record(0, **MONEY | {"cost_nano": None, "charge_nano": None, "currency": None}))
    refused = call("statement", "close", "2026-10")
    assert refused.exit_code == 1 and "--force unpriced" in refused.stderr
    assert "2026-10 is not closed" in call("statement", "show", "2026-10", "--save", "x").stderr
    forced = call("statement", "close", "2026-10", "--force", "unpriced", "--zone", "UTC")
    assert "Closed although 1 request had no price." in forced.stdout, forced.output
    for words, said in (
        (("--through", "0"), "was closed at seq 1: leave --through out"),
        (("--zone", "Asia/Tokyo"), "was closed in UTC: leave --zone out"),
    ):
        shown = call("statement", "show", "2026-10", *words)
        assert shown.exit_code == 1 and said in shown.stderr
    assert call("statement", "close", "2099-01").exit_code == 1
    for words in (("2026-13",), ("2099-01", "--zone", "Mars")):
        assert call("statement", "close", *words).exit_code == 2


async def test_the_running_process_closes(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        services = admin.proxy.server.services
        await services.ledger.book(Batch("w9", numbered(make_record(0, **MONEY))))
        result = await called(tmp_path, "statement", "close", "2026-10", "--reason", "month's end")
        assert "Closed as statement 1, through seq 1" in result.stderr, result.output
        [closing] = services.reader.closings()
        assert closing.digest in result.stderr
        result = await called(tmp_path, "statement", "close", "2026-10")
        assert result.exit_code == 1 and "is closed for all teams" in result.stderr


def test_a_key_that_is_gone_is_not_replaced(call: Call, book: Book) -> None:
    data_dir = book(make_record(1, **MONEY))
    assert call("statement", "close", "2026-10").exit_code == 0
    (data_dir / "ledger.ed25519.pem").unlink()
    result = call("statement", "close", "2026-11")
    assert (
        result.exit_code == 1 and "key that signed this ledger's months is missing" in result.stderr
    )
    assert not (data_dir / "ledger.ed25519.pem").exists()
