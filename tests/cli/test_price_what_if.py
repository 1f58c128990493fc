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
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "gpt4o=o3"), "no request was for 'gpt4o', nor answered by it. The nearest is "
         "'gpt-4o'."),
        (("--tier", "priorty"), "no price row is for the tier 'priorty', so the usual prices hold. "
         "The nearest is 'priority'."),
        (("--team", "reserch"), "no record at all is of a team 'reserch'. The nearest is 'research'."),
        (("--upstream", "up", "--team", ""), "no record at all is of an upstream 'up'."),
    ],
)  # fmt: skip  # a case a line
def test_a_mistyped_name_does_not_look_like_terms_that_cost_the_same(
    call: Call, words: tuple[str, ...], said: str
) -> None:
    result = call(*WORDS, *words, "--json")
    assert (result.exit_code, said in result.stderr) == (0, True), result.stderr
    assert json.loads(result.stdout) is not None


@pytest.mark.usefixtures("ledger")
def test_what_is_spelled_right_needs_no_note(call: Call) -> None:
    right = ("--model", "O*=gpt-4o", "--tier", "PRIORITY", "--team", "research", "--team", "")
    assert call(*WORDS, *right).stderr == ""


@pytest.mark.usefixtures("ledger")
def test_no_difference_is_made_of_other_requests(call: Call, home: Path) -> None:
    """Of what had a price two requests had one, and of what would have, another one."""
    (home / "offer.yaml").write_text('prices: [{model: "o3", input: "1", output: "1"}]')
    result = call(*WORDS, "--prices", "offer.yaml")
    [total] = [line.split() for line in result.stdout.splitlines() if line.startswith("total")]
    assert total == ["total", "3", "0.0008325", "0.000111", "–", "USD", "2"]
    found = json.loads(call(*WORDS, "--prices", "offer.yaml", "--json").stdout)
    assert {row["difference_nano"] for row in found} == {None}


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("said", ["12.5%", "0.125", " 12.50 % "])
def test_a_discount_may_be_a_share_or_percent(call: Call, said: str) -> None:
    assert "with a discount of 0.125" in call(*WORDS, "--discount", said).stdout
    assert "no records" in call(*WORDS, "--month", "2020-01").stdout.casefold()
