"""Makes proxy/data/prices.json.gz from the installed genai-prices package: `python -m
tools.prices`, or `make prices`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import re
import sys
from pathlib import Path

from genai_prices.data import providers
from genai_prices.types import ModelPrice, TieredPrices

from proxy.config.price_tables import Table, bundled, genai

TARGET = Path(__file__).parent.parent / "proxy" / "data" / "prices.json.gz"


def document() -> list[object]:
    """The package's data in the form of the project's published JSON."""
    return [published(provider) for provider in providers]


def published(value: object) -> object:
    """One of the package's objects as JSON has it."""
    if isinstance(value, ModelPrice):
        return {key: published(price) for key, price in vars(value).items() if price is not None}
    if isinstance(value, TieredPrices):
        return {
            "base": value.base,
            "tiers": [{"start": tier.start, "price": tier.price} for tier in value.tiers],
        }
    if dataclasses.is_dataclass(value):
        pairs = (
            (field.name.removesuffix("_"), getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name not in ("extractors", "_")
        )
        return {name: published(item) for name, item in pairs if item is not None}
    if isinstance(value, dict):
        return {key: published(item) for key, item in value.items()}
    if isinstance(value, list):
        return [published(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def as_of() -> str:
    """The latest day, up to today, on which someone says in the table to have verified a price."""
    comments = " ".join(
        str(holder.price_comments)
        for provider in providers
        for holder in (provider, *provider.models)
    )
    days = re.findall(r"erified (?:on |as of )?(20[0-9]{2}-[0-9]{2}-[0-9]{2})", comments)
    return max(day for day in days if day <= datetime.datetime.now(datetime.UTC).date().isoformat())


def table() -> Table:
    """What the installed package says."""
    return genai.read(document(), importlib.metadata.version(genai.NAME), as_of())


if __name__ == "__main__":
    made = table()
    bundled.store(made, TARGET)
    rows = [row for found in made.providers.values() for row in found]
    unknown = len({row.model for row in rows if not row.rates()})
    sys.stdout.write(
        f"{TARGET}: {made.source} as of {made.date}, {len(made.providers)} providers, {len(rows)} rows, {unknown} models that cannot be priced by tokens\n"
    )
