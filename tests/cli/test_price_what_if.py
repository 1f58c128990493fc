"""`tollkeeper price what-if`: the scenario, the sums, and what is not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.accounting.test_what_if import reader_of, use

Call = Callable[..., Result]
WORDS = ("price", "what-if", "--data-dir", "var")


@pytest.fixture
def ledger(home: Path) -> None:
    (home / "var").mkdir()
    reader_of(home / "var", use(0), use(1), use(2, model_requested="o3", model_served="o3"))


@pytest.mark.usefixtures("ledger")
def test_the_sums_of_each_team_and_model_and_what_is_unknown(call: Call) -> None:
    result = call(*WORDS, "--discount", "50%", "--tier", "priority")
    assert result.exit_code == 0, result.output
    assert "in the tier priority, with a discount of 0.5" in result.stdout
    assert "1 requests would have no known cost (1 have none as booked)" in result.stdout
    [row] = [line.split() for line in result.stdout.splitlines() if " gpt-4o " in line]
    # 100 and 20 tokens: 450 a request at 7.5 % off, and 900 at half.
    assert row == ["research", "gpt-4o", "2", "0.0008325", "0.0009", "0.0000675", "USD"]


@pytest.mark.usefixtures("ledger")
def test_json_has_exact_amounts_and_null_for_unknown(call: Call) -> None:
    found = {
        row["model"]: row
        for row in json.loads(call(*WORDS, "--json", "--model", "o3=gpt-4o").stdout)
    }
    assert found["gpt-4o"]["would_cost_nano"] == found["gpt-4o"]["cost_nano"] == 832_500
    assert (found["o3"]["cost"], found["o3"]["would_cost"]) == (None, "0.00041625")


@pytest.mark.usefixtures("ledger")
def test_an_offer_prices_all_and_nothing_is_written(call: Call, home: Path) -> None:
    (home / "offer.yaml").write_text('prices: [{model: "*", input: "1", output: "1"}]')
    before = (home / "var" / "ledger.db").read_bytes()
    result = call(*WORDS, "--prices", "offer.yaml")
    assert "by the prices of offer.yaml" in result.stdout and "no known cost" not in result.stdout
    assert (home / "var" / "ledger.db").read_bytes() == before


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--model", "gpt-4o"), 2, "write 'gpt-4o=deepseek-v3.2'"),
        (("--model", "=a"), 2, "is no pair"),
        (("--discount", "half"), 2, "write 10% or 0.1"),
        (("--discount", "150%"), 2, "write 10% or 0.1"),
        (("--month", "2026"), 2, "is no month"),
        (("--prices", "var/ledger.db"), 1, "UTF-8"),
    ],
)
def test_what_is_wrong_is_said(call: Call, words: tuple[str, ...], code: int, said: str) -> None:
    result = call(*WORDS, *words)
    assert (result.exit_code, said in result.output) == (code, True), result.output


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("said", ["12.5%", "0.125", " 12.50 % "])
def test_a_discount_may_be_a_share_or_percent(call: Call, said: str) -> None:
    assert "with a discount of 0.125" in call(*WORDS, "--discount", said).stdout
    assert "no records" in call(*WORDS, "--month", "2020-01").stdout.casefold()
