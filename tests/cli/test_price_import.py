"""`tollkeeper price import`: what it writes is a config, and says what the table says."""

from __future__ import annotations

import json

import pytest
import yaml

from proxy.config import loader
from proxy.config.price_tables import bundled
from proxy.config.price_terms import row_of
from proxy.core.pricing.pricelist import PriceRow

LITELLM = {
    "gpt-4o": {
        "mode": "chat",
        "litellm_provider": "openai",
        "input_cost_per_token": 2.5e-06,
        "cache_read_input_token_cost": 1.25e-06,
        "output_cost_per_token": 1e-05,
    },
    "gpt-4o-mini": {
        "mode": "chat",
        "litellm_provider": "openai",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
    },
    'evil"}], listen: "0.0.0.0:1': {
        "mode": "chat",
        "litellm_provider": "openai",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 1e-06,
    },
}
GENAI = [
    {
        "id": "p",
        "models": [
            {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 0.1, "output_mtok": 2}},
            {"id": "x", "match": {"equals": "x"}, "prices": {"audio_hours": 1}},
        ],
    }
]


@pytest.fixture
def files(home):
    (home / "litellm.json").write_text(json.dumps(LITELLM))
    (home / "genai.json").write_text(json.dumps(GENAI))
    (home / "broken.json").write_text("{")


def imported(home, path="prices.d/x.yaml"):
    """The rows of a config that includes the file."""
    text = (
        'upstreams: {up: {base_url: "http://h", api_key: k}}\nroutes: [{model: "*", upstream: up}]\n'
        + f"include: [{path}]\n"
    )
    (home / "with.yaml").write_text(text)
    settings = loader.load(home / "with.yaml", {}).settings
    return [row_of(price, settings) for price in settings.prices]


def test_the_bundled_table_of_a_provider_comes_back_row_by_row(call, home):
    for provider in ("deepseek", "openai", "anthropic", "google"):
        done = call(
            "price",
            "import",
            "--from",
            "genai-prices",
            "--provider",
            provider,
            "--upstream",
            "up",
            "--out",
            "prices.d/x.yaml",
        )
        assert (
            done.exit_code == 0
            and "Name it in config.yaml: include: [prices.d/x.yaml]" in done.stdout
        )
        rows = [row for row in bundled.load().rows(provider, "up") if row.rates() and row.rank == 1]
        expected = {
            PriceRow(
                **{
                    **{name: getattr(row, name) for name in row.__struct_fields__},
                    "rank": 0,
                    "source": "config",
                }
            )
            for row in rows
        }
        assert set(imported(home)) == expected
        head = (home / "prices.d" / "x.yaml").read_text().splitlines()[0]
        assert f"{provider} of genai-prices" in head and bundled.load().date in head


def test_litellms_floats_become_exact_decimals_and_its_names_stay_names(call, home, files):
    done = call(
        "price",
        "import",
        "--from",
        "litellm",
        "litellm.json",
        "--provider",
        "openai",
        "--out",
        "x.yaml",
    )
    assert done.exit_code == 0
    text = (home / "x.yaml").read_text()
    assert yaml.safe_load(text)["prices"][2]["model"] == 'evil"}], listen: "0.0.0.0:1' and list(
        yaml.safe_load(text)
    ) == ["prices"]
    done = call(
        "price",
        "import",
        "--from",
        "litellm",
        "litellm.json",
        "--provider",
        "openai",
        "--model",
        "GPT-4o*",
        "--out",
        "x.yaml",
    )
    found = {
        row.model: (row.input, row.cached, row.output, row.upstream)
        for row in imported(home, "x.yaml")
    }
    assert found == {
        "gpt-4o": ("2.5", "1.25", "10", None),
        "gpt-4o-mini": ("0.15", None, "0.6", None),
    }


def test_a_published_table_of_genai_prices_is_read_and_what_it_cannot_say_is_told(
    call, home, files
):
    done = call("price", "import", "--from", "genai-prices", "genai.json", "--provider", "p")
    assert yaml.safe_load(done.stdout)["prices"] == [
        {"model": "m", "currency": "USD", "input": "0.1", "output": "2"}
    ]
    assert done.stderr == "Left out, since the table prices them by what no answer states: x\n"


def test_a_file_that_others_wrote_is_not_replaced_unasked(call, home, files):
    words = (
        "price",
        "import",
        "--from",
        "genai-prices",
        "genai.json",
        "--provider",
        "p",
        "--out",
        "mine.yaml",
    )
    (home / "mine.yaml").write_text("prices: []\n")
    refused = call(*words)
    assert (
        refused.exit_code == 1
        and "was not made by this command" in refused.stderr
        and (home / "mine.yaml").read_text() == "prices: []\n"
    )
    assert call(*words, "--yes").exit_code == 0 and call(*words).exit_code == 0
    (home / "dir.yaml").mkdir()
    assert call(*words[:-1], "mine.yaml/x.yaml").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--from", "genai-prices"), 2, "say whose prices with --provider: one of"),
        (
            ("--from", "genai-prices", "--provider", "deepsek"),
            2,
            "the table has no provider 'deepsek': one of",
        ),
        (
            ("--from", "genai-prices", "--provider", "deepseek", "--model", "gpt-*"),
            1,
            "The table has no price per token for deepseek and these models.",
        ),
        (("--from", "litellm", "--provider", "openai"), 2, "--from litellm needs FILE"),
        (
            ("--from", "litellm", "genai.json", "--provider", "openai"),
            1,
            "genai.json: not a table in the format of litellm",
        ),
        (
            ("--from", "genai-prices", "litellm.json", "--provider", "openai"),
            1,
            "not a table in the format of genai-prices",
        ),
        (("--from", "genai-prices", "broken.json", "--provider", "openai"), 1, "broken.json: "),
        (("--from", "genai-prices", "nowhere.json", "--provider", "openai"), 2, "does not exist"),
        (
            (
                "--from",
                "genai-prices",
                "--provider",
                "deepseek",
                "--upstream",
                "nobody",
                "-c",
                "config.yaml",
            ),
            2,
            "there is no upstream 'nobody' in config.yaml",
        ),
        (("--provider", "openai"), 2, "Missing option '--from'"),
    ],
)
def test_what_cannot_be_imported_says_why(call, files, words, code, text):
    result = call("price", "import", *words)
    assert result.exit_code == code and text in " ".join(result.stderr.replace("│", " ").split())
