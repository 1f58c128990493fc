"""Reads the published JSON of genai-prices (https://github.com/pydantic/genai-prices).

There, clauses in the order of the table find a model, and conditions of date and hour, thresholds
and variants find a price. Here each combination becomes a row of its own, and each clause a glob. A
name that the table spells out always leads to the model that the table finds for it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from proxy.config.price_tables import CURRENCY, Table, TableError
from proxy.core.pricing.amounts import plain
from proxy.core.pricing.pricelist import PriceRow

NAME: Final = "genai-prices"
URL: Final = "https://github.com/pydantic/genai-prices"
LICENCE: Final = "MIT, Copyright (c) Pydantic Services Inc. 2025 to present"

_RATE_OF: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "input_audio_mtok": "audio_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
}
# What no usage tells apart from these. Where it has another price, nobody can say what an answer
# costs. Two prices are passed over: an hour's caching, which cannot be asked for in this API, and
# sound read from the cache, which is priced as other cached tokens: text models would be without a
# price for its sake.
_SAME_AS: Final = {
    "input_text_mtok": "input_mtok",
    "input_image_mtok": "input_mtok",
    "input_video_mtok": "input_mtok",
    "output_text_mtok": "output_mtok",
    "output_image_mtok": "output_mtok",
    "output_video_mtok": "output_mtok",
    "output_citation_mtok": "output_mtok",
    "cache_text_read_mtok": "cache_read_mtok",
    "cache_image_read_mtok": "cache_read_mtok",
    "cache_video_read_mtok": "cache_read_mtok",
}
_WHOLE: Final = {"cache_read_mtok": "input_mtok", "cache_write_mtok": "input_mtok"}
_PER_THOUSAND: Final = "requests_kcount"
_NO_SPEECH: Final = "^(?!.*-[tT][tT][sS](?:$|-))"  # a condition in some clauses
_SIMPLE_REGEX: Final = re.compile(
    r"\^?((?:\\d(?:\{[0-9]+\})?|\\.|\[[^\]\\^]+\]|[A-Za-z0-9@:/_-])*)(\$?)"
)
_REGEX_SIGN: Final = re.compile(r"\\d(?:\{([0-9]+)\})?|\\(.)|(\[[^\]]+\])|(.)")

Json = object
Clause = Mapping[str, Json]


class Condition(msgspec.Struct, frozen=True):
    """When a row holds: a first day, hours, a number of input tokens to exceed, a service tier."""

    date: str | None
    hours: tuple[int, int] | None
    above: int | None
    tier: str | None


def read(document: Json, version: str = "", date: str = "") -> Table:
    """The table in this document, decoded from JSON with decimals kept exact. Raises TableError."""
    try:
        providers = [provider for provider in _list(document) if isinstance(provider, Mapping)]
        rows = {str(provider["id"]): tuple(_provider_rows(provider)) for provider in providers}
        fallbacks = {
            str(provider["id"]): tuple(map(str, _list(provider.get("fallback_model_providers"))))
            for provider in providers
        }
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise TableError(
            f"not a table in the format of {NAME}: {error!r} does not fit; take prices/data.json of"
            f" {URL}"
        ) from error
    if not providers:
        raise TableError(
            f"not a table in the format of {NAME}: a list of providers was expected; take"
            f" prices/data.json of {URL}"
        )
    return Table(
        name=NAME,
        version=version,
        date=date,
        url=URL,
        licence=LICENCE,
        providers={name: found for name, found in rows.items() if found},
        fallbacks={name: found for name, found in fallbacks.items() if found},
    )


def _provider_rows(provider: Mapping[str, Json]) -> Iterator[PriceRow]:
    models = [model for model in _list(provider.get("models")) if isinstance(model, Mapping)]
    clauses = [_mapping(model["match"]) for model in models]
    ids = [str(model["id"]).lower() for model in models]
    spelt = sorted({name for clause in clauses for name in _spelt(clause)} | set(ids))
    found: dict[str, int] = {}
    for name in spelt:
        # The first model whose clause matches is what the table means by a name.
        at = next((at for at, clause in enumerate(clauses) if _matches(clause, name)), None)
        if at is not None:
            found[_escaped(name)] = at
    globs: dict[str, int] = {}
    blocked: dict[str, None] = {}
    for at, clause in enumerate(clauses):
        for glob in _globs(clause, blocked):
            if glob not in found:
                globs.setdefault(glob, at)
    for name, at in [*found.items(), *globs.items()]:
        if name not in blocked:
            yield from _model_rows(models[at], name)
    for glob in blocked:
        yield PriceRow(model=glob, currency=CURRENCY)


def _model_rows(model: Mapping[str, Json], name: str) -> Iterator[PriceRow]:
    """The rows of one model under one name.

    A row has no rate if the table's price depends on something that no answer tells.
    """
    listed = _listed(model)
    variants = [
        variant for variant in _list(model.get("price_variants")) if isinstance(variant, Mapping)
    ]
    dates = sorted({day for holder in (*listed, *variants) if (day := _date(holder)) is not None})
    hours = {span for holder in listed if (span := _hours(holder)) is not None}
    tiers = {tier for variant in variants if (tier := _tier(variant)) is not None}
    prices = [
        price for holder in (*listed, *variants) for price in _mapping(holder["prices"]).values()
    ]
    thresholds = {
        int(str(_mapping(tier)["start"]))
        for price in prices
        if isinstance(price, Mapping)
        for tier in _list(price.get("tiers"))
    }
    for span in [None, *sorted(hours)]:
        for above in [None, *sorted(thresholds)]:
            for tier in [None, *sorted(tiers)]:
                before: dict[str, str] | None = None
                for date in [None, *dates]:
                    rates = _rates(listed, variants, Condition(date, span, above, tier))
                    if rates != before:
                        yield _row(name, rates, Condition(date, span, above, tier))
                    before = rates


def _listed(model: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """The model's prices, each with its constraint; the later of those that hold wins."""
    prices = model.get("prices")
    return (
        [{"prices": prices}]
        if isinstance(prices, Mapping)
        else [_mapping(holder) for holder in _list(prices)]
    )


def _rates(
    listed: Sequence[Mapping[str, Json]],
    variants: Sequence[Mapping[str, Json]],
    condition: Condition,
) -> dict[str, str]:
    """Our rates by name under a condition; empty where they cannot be told."""
    if not listed:
        return {}
    standard = next((holder for holder in reversed(listed) if _holds(holder, condition)), listed[0])
    resolved = dict(_mapping(standard["prices"]))
    overrides: dict[str, Json] = {}
    for variant in variants:
        if (
            condition.tier is not None
            and _tier(variant) == condition.tier
            and _holds(variant, condition)
        ):
            for key, price in _mapping(variant["prices"]).items():
                overrides.setdefault(key, price)
    amounts = {
        key: amount
        for key, price in (resolved | overrides).items()
        if (amount := _amount(price, condition.above)) is not None
    }
    for key, parent in _SAME_AS.items():
        beside = amounts.get(parent, amounts.get(_WHOLE.get(parent, "")))
        if key in amounts and amounts[key] != beside:
            return {}
    rates = {name: _text(amounts[key]) for key, name in _RATE_OF.items() if key in amounts}
    if _PER_THOUSAND in amounts:
        rates["request"] = _text(amounts[_PER_THOUSAND] / 1000)
    return rates if "input" in rates or "output" in rates else {}


def _row(name: str, rates: dict[str, str], condition: Condition) -> PriceRow:
    start = (
        None
        if condition.date is None
        else datetime.datetime.fromisoformat(condition.date).replace(tzinfo=datetime.UTC)
    )
    row = PriceRow(
        model=name,
        currency=CURRENCY,
        service_tier=condition.tier,
        above_input_tokens=condition.above,
        hours_utc=condition.hours,
        from_ms=None if start is None else int(start.timestamp()) * 1000,
    )
    return msgspec.structs.replace(row, **rates)


def _amount(price: Json, above: int | None) -> Decimal | None:
    """One price for so many input tokens; a threshold makes all of them dearer."""
    if isinstance(price, Mapping):
        tiers = sorted(
            (int(str(_mapping(tier)["start"])), _mapping(tier)["price"])
            for tier in _list(price.get("tiers"))
        )
        return _amount(
            next(
                (rate for start, rate in reversed(tiers) if above is not None and start <= above),
                price["base"],
            ),
            above,
        )
    return None if price is None else Decimal(str(price))


def _text(amount: Decimal) -> str:
    return plain(f"{amount:f}")


def _holds(holder: Mapping[str, Json], condition: Condition) -> bool:
    date, span = _date(holder), _hours(holder)
    if span is not None:
        return condition.hours == span
    return date is None or (condition.date is not None and date <= condition.date)


def _date(holder: Mapping[str, Json]) -> str | None:
    constraint = holder.get("constraint")
    found = constraint.get("start_date") if isinstance(constraint, Mapping) else None
    return None if found is None else datetime.date.fromisoformat(str(found)).isoformat()


def _hours(holder: Mapping[str, Json]) -> tuple[int, int] | None:
    constraint = holder.get("constraint")
    if not isinstance(constraint, Mapping) or "start_time" not in constraint:
        return None
    return _minute(str(constraint["start_time"])), _minute(str(constraint["end_time"]))


def _minute(text: str) -> int:
    """The minute of the UTC day of a time such as 16:30:00Z."""
    time = datetime.datetime.fromisoformat(f"2000-01-02T{text}")
    if time.tzinfo is not None:
        time = time.astimezone(datetime.UTC)
    return time.hour * 60 + time.minute


def _tier(variant: Mapping[str, Json]) -> str | None:
    """The service tier that a variant is for; None if it is for something that no answer states."""
    when = _mapping(variant["when"])
    return str(when["service_tier"]) if list(when) == ["service_tier"] else None


def _matches(clause: Clause, name: str) -> bool:
    """Whether the table means a model by this name, which is in lower case."""
    [(kind, given)] = clause.items()
    if kind in ("or", "and"):
        each = (_matches(_mapping(inner), name) for inner in _list(given))
        return any(each) if kind == "or" else all(each)
    text = str(given)
    if kind == "regex":
        return re.search(text, name) is not None
    text = text.lower()
    if kind == "equals":
        return name == text
    if kind == "starts_with":
        return name.startswith(text)
    return name.endswith(text) if kind == "ends_with" else text in name


def _spelt(clause: Clause) -> Iterator[str]:
    """Every name and beginning of a name that a clause spells out."""
    [(kind, given)] = clause.items()
    if kind in ("or", "and"):
        for inner in _list(given):
            yield from _spelt(_mapping(inner))
    elif kind in ("equals", "starts_with"):
        yield str(given).lower()


def _globs(clause: Clause, blocked: dict[str, None]) -> Iterator[str]:
    """The names that a clause matches, as globs.

    What no glob can say is left out. Names that a condition takes out are added to `blocked`.
    """
    [(kind, given)] = clause.items()
    if kind == "or":
        for inner in _list(given):
            yield from _globs(_mapping(inner), blocked)
    elif kind == "and":
        inners = [_mapping(inner) for inner in _list(given)]
        rest = [inner for inner in inners if inner.get("regex") != _NO_SPEECH]
        if len(rest) == 1 < len(inners):
            for glob in _globs(rest[0], blocked):
                blocked.update(dict.fromkeys([f"{glob}-tts", f"{glob}-tts-*"]))
                yield glob
    elif kind == "regex":
        yield from _regex_glob(str(given))
    else:
        text = _escaped(str(given).lower())
        yield {
            "equals": text,
            "starts_with": f"{text}*",
            "ends_with": f"*{text}",
            "contains": f"*{text}*",
        }[kind]


def _regex_glob(pattern: str) -> Iterator[str]:
    found = _SIMPLE_REGEX.fullmatch(pattern)
    if found is None or not pattern.startswith("^"):
        return
    glob = ""
    for times, escaped, group, sign in _REGEX_SIGN.findall(found[1]):
        glob += (
            _escaped(escaped or sign) if escaped or sign else group or "[0-9]" * int(times or "1")
        )
    yield (glob if found[2] else f"{glob}*").lower()


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _list(value: Json) -> Iterable[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return value
