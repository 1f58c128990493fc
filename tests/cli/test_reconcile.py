"""`tollkeeper ledger reconcile`: what is printed, and the exit code that a job goes by."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from proxy.cli import admin_client
from proxy.core.money import decimal
from proxy.core.records.by_hand import EnteredAmount, Entering, Whose, entry
from tests.accounting.reconciling.books import NOVEMBER_MS, by_day, by_request, ledger_of, priced

Call = Callable[..., Result]
DIRECTORY = ("--data-dir", "var")


@pytest.fixture
def bill(home: Path) -> Callable[[str], Path]:
    """Writes a bill, beside a ledger of ten requests."""
    ledger_of(home / "var", [priced(n) for n in range(10)])

    def write(text: str) -> Path:
        path = home / "bill.csv"
        path.write_text(text)
        return path

    return write


def test_where_all_agrees_the_exit_code_is_0(call: Call, bill: Callable[[str], Path]) -> None:
    bill(by_request(priced(n) for n in range(10)))
    result = call("ledger", "reconcile", "bill.csv", "--vendor", "openrouter", *DIRECTORY)
    assert result.exit_code == 0, result.output
    assert "Compared request by request with the requests to openai" in result.stdout
    assert "0.000% of the bill: within the tolerance of 0.5%" in result.stdout


def test_what_was_booked_by_hand_is_told_and_in_no_sum(
    call: Call, bill: Callable[[str], Path], home: Path
) -> None:
    bill(by_request(priced(n) for n in range(10)))
    words = ("ledger", "reconcile", "bill.csv", "--vendor", "openrouter", *DIRECTORY)
    before = json.loads(call(*words, "--json").stdout)
    order = Entering(name="r1", stamp_ms=1, started_at_ms=NOVEMBER_MS, reason="rebate")
    amount = EnteredAmount(cost_nano=-(10**9), charge_nano=None, currency="USD")
    entries = [
        one
        for upstream in ("openai", "other")
        for one in entry(order, Whose(upstream=upstream), amount)
    ]
    ledger_of(home / "var", [*(priced(n) for n in range(10)), *entries[:1]])
    told = json.loads(call(*words, "--json").stdout)
    assert told.pop("by_hand") == {"count": 1, "own_nano": -(10**9), "billed_nano": 0}
    assert told == {name: before[name] for name in told}
    shown = call(*words)
    assert "in none of the sums: 1 rows, -1.00 USD. With them the ledger says" in shown.stdout
    ledger_of(home / "var", [*(priced(n) for n in range(10)), *entries[1:]])
    assert "Booked by hand" not in call(*words, "--upstream", "openai").stdout


def test_what_went_round_is_told_in_money_and_the_exit_code_is_3(
    call: Call, bill: Callable[[str], Path]
) -> None:
    extra = priced(77, upstream_request_id="gen-round-the-proxy")
    bill(by_request([*(priced(n) for n in range(10)), extra]))
    words = ("ledger", "reconcile", "bill.csv", "--vendor", "openrouter", *DIRECTORY)
    result = call(*words)
    assert result.exit_code == 3
    [line] = [line for line in result.stdout.splitlines() if "went round the proxy" in line]
    assert line.split()[-1] == decimal(extra.cost_nano or 0)
    assert "gen-round-the-proxy" in result.stdout and "beyond the tolerance" in result.stdout
    assert call(*words, "--tolerance", "50%").exit_code == 0
    told = json.loads(call(*words, "--json").stdout)
    assert told["missing_here"] == {
        "count": 1,
        "own_nano": 0,
        "billed_nano": extra.cost_nano,
    }
    assert (told["within_tolerance"], told["level"], told["vendor"]) == (
        False,
        "request",
        "openrouter",
    )
    [row] = csv.DictReader(io.StringIO(call(*words, "--format", "csv").stdout))
    assert (row["verdict"], row["vendor_id"], row["difference"]) == (
        "missing_here",
        "gen-round-the-proxy",
        decimal(extra.cost_nano or 0),
    )


@pytest.mark.parametrize(
    ("form", "vendor"), [("csv", "generic"), ("jsonl", "generic"), ("focus", "focus")]
)
def test_each_export_of_the_ledger_agrees_with_it(
    call: Call, home: Path, form: str, vendor: str
) -> None:
    first = priced(0)
    correction = msgspec.structs.replace(
        first, id=priced(99).id, kind="adjustment", adjusts=first.id, reason="rerate",
        input_tokens=0, output_tokens=0, cached_tokens=0, cost_nano=-5, cost_original_nano=-5,
    )  # fmt: skip
    ledger_of(home / "var", [first, *(priced(n) for n in range(1, 10)), correction])
    (home / "bill").write_bytes(call("ledger", "export", "--format", form, *DIRECTORY).stdout_bytes)
    result = call("ledger", "reconcile", "bill", "--vendor", vendor, "--json", *DIRECTORY)
    told = json.loads(result.stdout)
    assert (told["level"], told["difference_count"], told["matched"]["count"]) == ("request", 0, 10)


def test_a_bill_may_be_in_several_files(
    call: Call, bill: Callable[[str], Path], home: Path
) -> None:
    bill(by_request(priced(n) for n in range(6)))
    (home / "more.csv").write_text(by_request(priced(n) for n in range(6, 10)))
    words = ("--vendor", "openrouter", *DIRECTORY)
    result = call("ledger", "reconcile", "bill.csv", "more.csv", *words)
    assert result.exit_code == 0 and "Bill of openrouter, bill.csv, more.csv:" in result.stdout
    assert call("ledger", "reconcile", *words).exit_code == 2


def test_a_month_in_the_vendors_zone(call: Call, bill: Callable[[str], Path]) -> None:
    bill(by_day(priced(n) for n in range(10)))
    result = call(
        "ledger", "reconcile", "bill.csv", "--vendor", "openai", "--month", "2026-11", *DIRECTORY
    )
    assert result.exit_code == 0
    assert "from 2026-11-01 00:00+00:00 to 2026-12-01 00:00+00:00" in result.stdout


def test_an_upstream_is_asked_for_where_it_is_not_clear(call: Call, home: Path) -> None:
    records = [priced(0), priced(1, upstream="azure")]
    ledger_of(home / "var", records)
    (home / "bill.csv").write_text(by_request(records))
    words = ("ledger", "reconcile", "bill.csv", "--vendor", "openrouter", *DIRECTORY)
    result = call(*words)
    assert result.exit_code == 1
    assert "Say with --upstream whose requests are on this bill: azure, openai." in result.output
    assert call(*words, "--upstream", "openai", "--upstream", "azure").exit_code == 0
    assert "it has azure, openai" in call(*words, "--upstream", "nobody").output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--vendor", "openai"), 1, "This is no bill of openai that is known."),
        (("--vendor", "nobody"), 2, "'nobody' is not one of"),
        (("--vendor", "openrouter", "--tolerance", "5"), 2, "write 0.5%"),
        (("--vendor", "openrouter", "--zone", "Mars"), 2, "there is no zone 'Mars'"),
        (("--vendor", "openrouter", "--month", "2026"), 2, "'2026' is no month"),
        (("--vendor", "openrouter", "--month", "2027-01"), 1, "Name the bill's month"),
        (("--vendor", "openrouter", "--currency", "euro"), 2, "three letters such as EUR"),
        ((), 2, "Missing option '--vendor'"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    call: Call, bill: Callable[[str], Path], words: tuple[str, ...], code: int, said: str
) -> None:
    bill(by_request([priced(0)]))
    result = call("ledger", "reconcile", "bill.csv", *DIRECTORY, *words)
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_a_mapping_is_read(call: Call, bill: Callable[[str], Path], home: Path) -> None:
    bill(
        "Zeit;Modell;Cent\n"
        + "".join(
            f"{record.started_at_ms};gpt-4o;{decimal((record.cost_nano or 0) * 100)}\n"
            for record in (priced(n) for n in range(10))
        )
    )
    (home / "map.yaml").write_text(
        "columns: {at: Zeit, model: Modell, amount: Cent}\ncurrency: USD\ndivisor: 100\n"
    )
    result = call(
        "ledger", "reconcile", "bill.csv", "--vendor", "csv", "--mapping", "map.yaml", *DIRECTORY
    )
    assert result.exit_code == 0, result.output
    assert "by hour and model" in result.stdout
    assert (
        "Read from the columns: at is 'Zeit', model is 'Modell', amount is 'Cent'" in result.stdout
    )


def test_a_stated_rate_compares_in_the_ledgers_currency(
    call: Call, bill: Callable[[str], Path], home: Path
) -> None:
    bill(
        "date,model,cost,currency\n"
        + "".join(
            f"{record.started_at_ms},gpt-4o,{decimal((record.cost_nano or 0) * 5)},DKK\n"
            for record in (priced(n) for n in range(10))
        )
    )
    words = ("ledger", "reconcile", "bill.csv", "--vendor", "generic", *DIRECTORY)
    assert "the ledger has costs in USD only" in call(*words).output
    result = call(*words, "--rate", "DKK=0.2")
    assert result.exit_code == 0, result.output
    assert "The bill's 10 lines in DKK are 0.2356875 DKK, and 0.0471375 USD at" in result.stdout, (
        result.stdout
    )
    told = json.loads(call(*words, "--rate", "dkk=0.2", "--json").stdout)
    assert told["currency"] == "USD" and told["converted"]["DKK"]["count"] == 10
    for rate, said in (
        ("DKK", "write CNY=0.14 where"),
        ("USD=1", "USD is the ledger's currency"),
    ):
        wrong = call(*words, "--rate", rate)
        assert (wrong.exit_code, said in wrong.output) == (2, True), wrong.output
    assert "has two rates" in call(*words, "--rate", "DKK=1", "--rate", "DKK=2").output


def test_a_process_elsewhere_is_not_asked(
    call: Call, bill: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bill(by_request([priced(0)]))
    monkeypatch.setenv(admin_client.URL, "http://127.0.0.1:9")
    monkeypatch.setenv(admin_client.TOKEN, "t")
    words = ("ledger", "reconcile", "bill.csv", "--vendor", "openrouter")
    result = call(*words)
    assert result.exit_code == 1 and "--data-dir" in result.output
    assert call(*words, *DIRECTORY).exit_code == 3
