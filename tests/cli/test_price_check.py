"""`tollkeeper price check`: exit code 3 and what to look at."""

from __future__ import annotations

import json
import time

import pytest

from proxy.config.price_tables import bundled
from tests.ledger.samples import make_record

CONFIG = """
upstreams:
  modelmax: {base_url: "http://127.0.0.1:9/v1", api_key: k}
  deepseek: {base_url: "http://127.0.0.1:9/v1", api_key: k, price_source: deepseek}
routes: [{model: "*", upstream: modelmax}]
prices:
  - {model: "deepseek-v3.2", upstream: modelmax, input: "2", output: "3"}
"""
# As LiteLLM lists them: of these, genai-prices says otherwise for every one.
LITELLM = {
    f"deepseek/{model}": {
        "mode": "chat",
        "litellm_provider": "deepseek",
        "input_cost_per_token": price,
        "output_cost_per_token": 4.2e-07,
        "cache_read_input_token_cost": 2.8e-08,
    }
    for model, price in [
        ("deepseek-chat", 2.8e-07),
        ("deepseek-reasoner", 2.8e-07),
        ("deepseek-v4-pro", 1.32e-06),
    ]
}
NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture
def write(home):
    def write(text=CONFIG):
        (home / "config.yaml").write_text(text)
        (home / "litellm.json").write_text(json.dumps(LITELLM))

    write()
    return write


def kinds(result):
    return [
        (found["kind"], found["upstream"], found["model"]) for found in json.loads(result.stdout)
    ]


def test_without_findings_it_is_quiet(call, write):
    result = call("price", "check")
    assert (result.exit_code, result.stdout) == (
        0,
        "0 models in use without a price, 0 rows on which sources disagree, 0 old tables\n",
    )


def test_models_in_use_without_a_price(call, write, book):
    records = [
        make_record(0, started_at_ms=NOW_MS, model_requested="unknown"), make_record(1, started_at_ms=NOW_MS, model_requested="unknown"),
        # a row prices it by now
        make_record(2, started_at_ms=NOW_MS),
        make_record(3, started_at_ms=NOW_MS, model_requested="other", cost_nano=1, currency="USD"),
        make_record(4, started_at_ms=NOW_MS - 40 * 86_400_000, model_requested="long ago"),
        # no upstream of the config any more
        make_record(5, started_at_ms=NOW_MS, model_requested="gone", upstream="gone"),
    ]  # fmt: skip
    book(*records)
    result = call("price", "check")
    assert result.exit_code == 3
    assert (
        result.stdout.splitlines()[0]
        == "unpriced: unknown at modelmax: 2 requests in 30 days, and no row gives it a price"
    )
    assert kinds(call("price", "check", "--json")) == [("unpriced", "modelmax", "unknown")]
    assert ("unpriced", "modelmax", "long ago") in kinds(
        call("price", "check", "--json", "--days", "60")
    )


def test_sources_that_disagree_on_models_in_use(call, write, book):
    book(
        make_record(
            0,
            started_at_ms=NOW_MS,
            upstream="deepseek",
            model_requested="deepseek-chat",
            cost_nano=1,
            currency="USD",
        )
    )
    assert call("price", "check").exit_code == 0, "one source agrees with itself"
    result = call(
        "price", "check", "--against", "litellm", "litellm.json", "--at", "2026-11-02T02:00"
    )
    assert result.exit_code == 3
    assert result.stdout.splitlines()[0] == (
        f"disagree: deepseek-chat at deepseek: {bundled.load().source} USD input 0.27, cached 0.07, output 1.1; litellm USD input 0.28, cached 0.028, output 0.42"
    )
    everything = kinds(
        call("price", "check", "--against", "litellm", "litellm.json", "--all", "--json")
    )
    assert everything == [
        ("disagree", "deepseek", name.removeprefix("deepseek/")) for name in LITELLM
    ]


def test_a_row_of_the_config_that_differs_from_the_price_source(call, write):
    write(
        CONFIG
        + '  - {model: "deepseek-chat", upstream: deepseek, input: "0.27", cached: "0.07", output: "1.2"}\n'
    )
    [line, _] = call("price", "check", "--at", "2026-11-02T02:00").stdout.splitlines()
    assert line.startswith(
        "disagree: deepseek-chat at deepseek: config USD input 0.27, cached 0.07, output 1.2; genai-prices"
    )
    write(
        CONFIG
        + '  - {model: "deepseek-chat", upstream: deepseek, input: "0.270", cached: "0.07", output: "1.1"}\n'
    )
    assert call("price", "check", "--at", "2026-11-02T02:00").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--against", "table", "litellm.json"), 2, "the formats are genai-prices and litellm"),
        (
            ("--against", "litellm", "nowhere.json"),
            1,
            "nowhere.json: cannot be read: No such file or directory; check the path",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(call, write, words, code, text):
    result = call("price", "check", *words)
    assert result.exit_code == code and text in result.stderr
