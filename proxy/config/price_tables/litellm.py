"""Reads LiteLLM's table (`model_prices_and_context_window.json`): prices per token, by model.

Rows are gathered by `litellm_provider`; the provider's prefix is taken off the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from proxy.config.price_tables import CURRENCY, Table, TableError
from proxy.core.pricing.amounts import plain
from proxy.core.pricing.pricelist import PriceRow

NAME: Final = "litellm"
URL: Final = "https://github.com/BerriAI/litellm"
MODES: Final = ("chat", "completion", "embedding", "responses")
TIERS: Final = ("flex", "priority")

_RATE_OF: Final = {
    "input": "input_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_long": "cache_creation_input_token_cost_above_1hr",
    "audio_input": "input_cost_per_audio_token",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_output": "output_cost_per_audio_token",
}
_ABOVE: Final = re.compile(r"input_cost_per_token_above_([0-9]+)k_tokens")
_MILLION: Final = 1_000_000

# The same vendor's name here -> in genai-prices, so that the two can be compared.
PROVIDERS: Final = {
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "aws",
    "cohere_chat": "cohere",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "xai": "x-ai",
}


def read(document: object, version: str = "", date: str = "") -> Table:
    """The table in this document, decoded from JSON with decimals kept exact. Raises TableError."""
    if not isinstance(document, Mapping):
        raise TableError(
            f"not a table in the format of {NAME}: a mapping of models was expected; take"
            f" model_prices_and_context_window.json of {URL}"
        )
    rows: dict[str, dict[str, list[PriceRow]]] = {}
    try:
        for key, entry in document.items():
            if isinstance(entry, Mapping) and entry.get("mode") in MODES:
                provider = str(entry.get("litellm_provider"))
                model = str(key).removeprefix(f"{provider}/")
                # A model that is listed with its prefix and without is one.
                rows.setdefault(PROVIDERS.get(provider, provider), {}).setdefault(
                    model, list(_model_rows(entry, model))
                )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TableError(
            f"not a table in the format of {NAME}: {error!r} does not fit; take"
            f" model_prices_and_context_window.json of {URL}"
        ) from error
    providers = {
        provider: tuple(row for found in models.values() for row in found)
        for provider, models in rows.items()
    }
    if not any(providers.values()):
        raise TableError(
            f"not a table in the format of {NAME}: no model in it has a price; take"
            f" model_prices_and_context_window.json of {URL}"
        )
    return Table(
        name=NAME,
        version=version,
        date=date,
        url=URL,
        providers={name: found for name, found in providers.items() if found},
    )


def _model_rows(entry: Mapping[str, object], model: str) -> Iterator[PriceRow]:
    thresholds = sorted(
        int(found[1]) * 1000 for key in entry if (found := _ABOVE.fullmatch(str(key)))
    )
    for above in [None, *thresholds]:
        for tier in [None, *TIERS]:
            suffix = "" if above is None else f"_above_{above // 1000}k_tokens"
            own = {
                name: f"{key}{suffix}{'' if tier is None else f'_{tier}'}"
                for name, key in _RATE_OF.items()
            }
            if tier is not None and entry.get(own["input"]) is None:
                continue  # this tier costs what the others cost
            rates = {
                name: _per_million(entry[key])
                for name, key in own.items()
                if entry.get(key) is not None
            }
            # What a tier or a threshold does not say of its own costs what it costs without.
            for name, key in _RATE_OF.items():
                if name not in rates and entry.get(key) is not None:
                    rates[name] = _per_million(entry[key])
            for name in ("cache_write", "cache_write_long"):
                if _zero(rates.get(name)):
                    del rates[name]  # stands for "no price of its own"
            if above is None and tier is None and entry.get("input_cost_per_request") is not None:
                rates["request"] = plain(f"{Decimal(str(entry['input_cost_per_request'])):f}")
            if "input" in rates or "output" in rates:
                yield msgspec.structs.replace(
                    PriceRow(
                        model=model, currency=CURRENCY, service_tier=tier, above_input_tokens=above
                    ),
                    **rates,
                )


def _per_million(price: object) -> str:
    return plain(f"{Decimal(str(price)) * _MILLION:f}")


def _zero(rate: str | None) -> bool:
    return rate is not None and not rate.strip("0.")
