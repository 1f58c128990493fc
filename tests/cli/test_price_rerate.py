"""`tollkeeper price rerate` without a process: the ledger is the command's own. Beside a process:
tests/admin/test_prices.py."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from proxy.ledger import Reader, connect_reader
from tests.ledger.samples import make_id, make_record

Call = Callable[..., Result]
PRICES = """
prices:
  - {model: "deepseek-*", input: "0.28", output: "0.42"}
teams: {research: {markup: "0.05"}}
"""
NOVEMBER = ("price", "rerate", "--month", "2026-11")


@pytest.fixture(autouse=True)
def booked(home: Path, book: Callable[..., Path]) -> Reader:
    """Three records of November, one of which nothing prices, and one of December; the config
    prices the rest at 36,400 nano-dollars."""
    (home / "config.yaml").write_text((home / "config.yaml").read_text() + PRICES)
    data_dir = book(
        make_record(0),
        make_record(1),
        make_record(2, model_requested="unheard-of", model_served=None),
        make_record(3, started_at_ms=1_796_200_000_000),
    )
    return connect_reader("sqlite:ledger.db", data_dir)


def test_a_dry_run_then_the_booking_then_nothing_more(call: Call, booked: Reader) -> None:
    dry = call(*NOVEMBER, "--dry-run")
    assert (dry.exit_code, booked.status().records) == (0, 4), dry.output
    head, columns, row, counted = dry.stdout.splitlines()
    assert head.startswith(
        "Records from 2026-11-01 00:00+08:00 to 2026-12-01 00:00+08:00, the end not included (Asia/Shanghai), by the prices "
    )
    assert head.endswith(": nothing is booked yet")
    assert columns.split() == ["team", "model", "adjustments", "cost", "charge", "currency"]
    assert row.split() == ["research", "deepseek-v3.2", "2", "0.0000728", "0.00007644", "USD"]
    assert (counted, dry.stderr) == (
        "adjusted: 2, unchanged: 0",
        "Warning: left as they are: 1, because no price says what they cost\n",
    )
    done = call(*NOVEMBER, "--yes", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    version = found["price_version"]
    assert found["changes"] == [
        {
            "team": "research",
            "model": "deepseek-v3.2",
            "currency": "USD",
            "adjustments": 2,
            "cost_nano": 72_800,
            "charge_nano": 76_440,
        }
    ]
    assert [len(booked.adjustments(make_id(n))) for n in range(4)] == [1, 1, 0, 0]
    assert booked.price_terms(version) is not None, "what it was priced with can be looked up"
    again = call(*NOVEMBER, "--yes")
    assert (again.stdout.splitlines()[1:], booked.status().records) == (
        ["adjusted: 0, unchanged: 2"],
        6,
    )
    assert booked.status().writers == {"w0": 4}, "no journal was read"


@pytest.mark.parametrize(("answer", "records", "code"), [("y\n", 6, 0), ("n\n", 4, 1), ("", 4, 1)])
def test_it_asks_before_it_books(
    call: Call, booked: Reader, answer: str, records: int, code: int
) -> None:
    result = call(*NOVEMBER, piped=answer)
    assert "Book 2 adjustments?" in result.stderr
    assert (result.exit_code, booked.status().records) == (code, records)


def test_without_a_difference_there_is_nothing_to_ask(call: Call) -> None:
    result = call("price", "rerate", "--month", "2020-01")
    assert (result.exit_code, "Book" in result.output, result.stdout.splitlines()[1:]) == (
        0,
        False,
        ["adjusted: 0, unchanged: 0"],
    )


def test_many_stretches_are_one_sum(
    call: Call, booked: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.rerating.SEQS_MAX", 1)
    assert json.loads(call("price", "rerate", "--from", "2026-11-01", "--yes", "--json").stdout)[
        "verdicts"
    ] == {"adjusted": 3, "unchanged": 0, "unpriced": 1, "other_currency": 0}
    assert booked.status().records == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name the period"),
        (("--to", "2026-12-01"), "name the period"),
        (("--month", "2026-13"), "is no month"),
        (("--from", "2026-12-01", "--to", "2026-11-01"), "not after its start"),
        (("--month", "2026-11", "--reason", "two\nlines"), "--reason is one line"),
        (("--month", "2026-11", "--json"), "--json goes with --dry-run or --yes"),
    ],
)
def test_wrong_words(call: Call, booked: Reader, words: tuple[str, ...], message: str) -> None:
    result = call("price", "rerate", *words)
    assert (result.exit_code, message in result.stderr, booked.status().records) == (2, True, 4)


def test_a_part_of_the_month_and_why(call: Call, booked: Reader) -> None:
    done = call(
        *NOVEMBER,
        "--team",
        "research",
        "--model",
        "deepseek-*",
        "--upstream",
        "modelmax",
        "--reason",
        "price list",
        "--yes",
    )
    assert "adjusted: 2, unchanged: 0" in done.stdout, done.output
    assert {entry.record.reason for entry in booked.adjustments(make_id(0))} == {
        "rerate: price list"
    }
    none = call(*NOVEMBER, "--team", "reserch", "--dry-run")
    assert (none.exit_code, none.stderr) == (
        0,
        "There is no record in this period, or none with the team, model or upstream named.\n",
    )


def test_a_markup_that_is_raised_later_is_of_now(call: Call, home: Path, booked: Reader) -> None:
    call(*NOVEMBER, "--yes")
    config = home / "config.yaml"
    config.write_text(config.read_text().replace('markup: "0.05"', 'markup: "0.5"'))
    later = call(*NOVEMBER, "--yes")
    assert "adjusted: 0, unchanged: 2" in later.stdout, later.output
    assert (
        "Note: 2 keep what held at their time: the config has no discount, markup or exchange rate with a date for them."
        in later.stderr
    )
    config.write_text(
        config.read_text().replace(
            'markup: "0.5"', 'markup: [{rate: "0.05"}, {rate: "0.5", from: 2026-11-01}]'
        )
    )
    dated = json.loads(call(*NOVEMBER, "--yes", "--json").stdout)
    assert [(change["cost_nano"], change["charge_nano"]) for change in dated["changes"]] == [
        (0, 72_800 * 45 // 100)
    ]


def test_no_ledger_is_made_to_find_it_empty(call: Call, booked: Reader) -> None:
    for path in Path(booked.name).parent.iterdir():
        path.unlink()
    result = call(*NOVEMBER, "--yes")
    assert (
        result.exit_code,
        "there is no ledger at" in result.stderr,
        list(Path(booked.name).parent.iterdir()),
    ) == (1, True, [])


def test_a_ledger_whose_process_does_not_answer_is_left_alone(call: Call, booked: Reader) -> None:
    with (Path(booked.name).parent / "ledger.db.lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = call(*NOVEMBER, "--yes")
    assert (result.exit_code, "is in use by" in result.stderr, booked.status().records) == (
        1,
        True,
        4,
    )
