"""What `models.enrich` adds to a model in a list: its context, its longest answer, our price.

The names are OpenRouter's, which many tools read. What is not known is left out and never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from proxy.core.pricing.amounts import parent_of
from proxy.core.pricing.book import PriceBook, Quote

_CONTEXT = ("context_length", "max_model_len", "context_window", "max_input_tokens")
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_output_length", "max_tokens")
# OpenRouter's name of a price, and ours; per token, but for the last
_PRICES = (
    ("prompt", "input"),
    ("completion", "output"),
    ("input_cache_read", "cached"),
    ("input_cache_write", "cache_write"),
    ("internal_reasoning", "reasoning"),
    ("request", "request"),
)
_MILLION = 6  # decimal places of "per million tokens"
_PRICES_IN = "USD"  # what tools take these numbers for


def detailed(
    entry: Mapping[str, object], prices: PriceBook, upstream: str, team: str | None, now_ms: int
) -> dict[str, object]:
    """The entry with what is known beside. A vendor's own prices go: the team pays ours."""
    made = {name: value for name, value in entry.items() if name != "pricing"}
    provider = entry.get("top_provider")
    places = [entry, *([provider] if isinstance(provider, dict) else [])]
    context, output = _count(places, _CONTEXT), _count(places, _OUTPUT)
    if context is not None:
        made.setdefault("context_length", context)
    if output is not None:
        made.setdefault("max_completion_tokens", output)
    quote = prices.quote(
        upstream=upstream,
        team=team,
        model_requested=str(entry.get("id")),
        model_served=None,
        service_tier=None,
        input_tokens=0,
        at_ms=now_ms,
    )
    if quote is not None and not quote.fx_missing and prices.currency == _PRICES_IN:
        made["pricing"] = _pricing(quote)
    return made


def _pricing(quote: Quote) -> dict[str, str]:
    factor = (1 - Decimal(quote.discount)) * (1 + Decimal(quote.markup))
    if quote.fx_rate is not None:
        factor *= Decimal(quote.fx_rate)
    found = {}
    for name, part in _PRICES:
        rate = getattr(quote.row, part)
        if rate is None and (parent := parent_of(part)) is not None:
            rate = getattr(quote.row, parent)
        if rate is not None:
            amount = Decimal(rate) * factor
            amount = amount if part == "request" else amount.scaleb(-_MILLION)
            found[name] = f"{amount.normalize():f}"
    return found


def _count(places: list[Mapping[str, object]], names: tuple[str, ...]) -> int | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
