"""LiteLLM's table: prices per token as floats in JSON, read from their text."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from proxy.config.price_tables import TableError, litellm
from proxy.core.pricing.pricelist import PriceRow

CHAT = {"mode": "chat", "litellm_provider": "deepseek"}


def read(text: str) -> dict[str, tuple[PriceRow, ...]]:
    return litellm.read(json.loads(text, parse_float=Decimal)).providers


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"input_cost_per_token": 2.8e-07, "output_cost_per_token": 4.2e-07, "cache_read_input_token_cost": 2.8e-08}, [{"input": "0.28", "cached": "0.028", "output": "0.42"}]),
        ({"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "cache_creation_input_token_cost": 0.0}, [{"input": "1", "output": "2"}]),
        ({"input_cost_per_token": 0.0, "output_cost_per_token": 0, "input_cost_per_request": 0.005}, [{"input": "0", "output": "0", "request": "0.005"}]),
        (
            {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "cache_read_input_token_cost": 1e-07, "input_cost_per_token_above_200k_tokens": 3e-06, "output_cost_per_token_above_200k_tokens": 4e-06},
            [{"input": "1", "cached": "0.1", "output": "2"}, {"above_input_tokens": 200_000, "input": "3", "cached": "0.1", "output": "4"}],
        ),
        (
            {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "input_cost_per_token_flex": 5e-07, "output_cost_per_token_priority": 9e-06},
            [{"input": "1", "output": "2"}, {"service_tier": "flex", "input": "0.5", "output": "2"}],
        ),
        ({"input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "output_cost_per_reasoning_token": 1.2e-05, "input_cost_per_audio_token": 4e-05, "output_cost_per_audio_token": 8e-05},
         [{"input": "1.25", "audio_input": "40", "output": "10", "reasoning": "12", "audio_output": "80"}]),
    ],
)  # fmt: skip
def test_one_model(entry, expected):
    rows = read(json.dumps({"deepseek/M": CHAT | entry}))["deepseek"]
    assert rows == tuple(PriceRow(model="M", currency="USD", **row) for row in expected)


def test_providers_modes_and_prefixes():
    price = {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}
    found = read(json.dumps({
        "sample_spec": {"mode": "one of: chat"}, "deepseek/a": CHAT | price, "a": CHAT | price, "xai/b": {"mode": "responses", "litellm_provider": "xai"} | price,
        "c": {"mode": "image_generation", "litellm_provider": "openai"} | price, "d": {"mode": "embedding", "litellm_provider": "someone"} | price, "e": CHAT,
    }))  # fmt: skip
    assert {provider: [row.model for row in rows] for provider, rows in found.items()} == {
        "deepseek": ["a"],
        "x-ai": ["b"],
        "someone": ["d"],
    }


@pytest.mark.parametrize(
    "document", [None, [], {}, {"a": CHAT}, {"a": CHAT | {"input_cost_per_token": "dear"}}]
)
def test_what_is_no_table_is_told(document):
    with pytest.raises(TableError, match="not a table in the format of litellm"):
        litellm.read(document)
