"""`tollkeeper price`: the price rows in effect, and which of them applies to a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import catalogue, common, formats, time_range
from proxy.cli.lazy import LazyGroup
from proxy.cli.tables import Column, print_table
from proxy.core import dates
from proxy.core.model_names import match
from proxy.core.pricing import explanation
from proxy.core.pricing.book import PriceBook, Quote
from proxy.core.pricing.pricelist import RATES, PriceRow

# The head of each column of a list, and its cell. An empty column is left out.
COLUMNS: dict[str, Callable[[PriceRow, tzinfo], str | None]] = {
    "upstream": lambda row, zone: row.upstream,
    "model": lambda row, zone: row.model,
    "tier": lambda row, zone: row.service_tier,
    "above": lambda row, zone: (
        None if row.above_input_tokens is None else f"{row.above_input_tokens:,}"
    ),
    "hours UTC": lambda row, zone: (
        None if row.hours_utc is None else explanation.hours(row.hours_utc)
    ),
    "from": lambda row, zone: None if row.from_ms is None else explanation.day(row.from_ms, zone),
    "currency": lambda row, zone: row.currency,
    "input": lambda row, zone: row.input,
    "cached": lambda row, zone: row.cached,
    "cache write": lambda row, zone: row.cache_write,
    "kept long": lambda row, zone: row.cache_write_long,
    "audio in": lambda row, zone: row.audio_input,
    "output": lambda row, zone: row.output,
    "reasoning": lambda row, zone: row.reasoning,
    "audio out": lambda row, zone: row.audio_output,
    "image": lambda row, zone: row.image,
    "search": lambda row, zone: row.search,
    "request": lambda row, zone: row.request,
    "source": lambda row, zone: row.source,
}
NUMBERS = (
    "above",
    "input",
    "cached",
    "cache write",
    "kept long",
    "audio in",
    "output",
    "reasoning",
    "audio out",
    "image",
    "search",
    "request",
)
# The columns that a narrow terminal leaves out, in this order. Columns that say where a row applies
# always stay.
LEAST = (
    "source",
    "image",
    "search",
    "request",
    "audio out",
    "audio in",
    "reasoning",
    "kept long",
    "cache write",
    "cached",
)


@click.group(
    cls=LazyGroup,
    lazy={
        "check": (
            "proxy.cli.price_check:check",
            "Find missing prices, sources that disagree, and a bundled table older than 60 days.",
        ),
        "import": (
            "proxy.cli.price_import:import_",
            "Write a public table's prices as rows for config.yaml.",
        ),
        "rerate": (
            "proxy.cli.price_rerate:rerate",
            "Price the records of a period anew and book the differences as adjustments.",
        ),
        "what-if": (
            "proxy.cli.price_what_if:what_if",
            "Say what the requests of a period would have cost under other terms.",
        ),
    },
)
def price() -> None:
    """What tokens cost: rows from config.yaml and from the bundled table."""


@price.command("list")
@common.config_option
@common.json_option
@click.option("--upstream", metavar="NAME", help="Only rows that can apply at this upstream.")
def list_(config_path: Path | None, as_json: bool, upstream: str | None) -> None:
    """List every price row, per million tokens.

    The rows of the config come first. For upstreams with a price_source the rows of the bundled
    table follow.

    \b
    Example:
      tollkeeper price list --upstream modelmax
    """
    found = catalogue.in_effect(config_path)
    _known(found, upstream)
    book = found.book
    rows = sorted(
        (row for row in book.rows if upstream is None or row.upstream in (None, upstream)),
        key=_place,
    )
    zone = found.zone
    if as_json:
        common.print_json(
            {
                "price_version": book.version,
                "currency": book.currency,
                "rows": [_json(row, zone) for row in rows],
            }
        )
        return
    click.echo(
        f"Prices in effect (version {book.version}), per million tokens; image and request each"
    )
    if not rows:
        click.echo(
            "No rows. Add some to `prices` in config.yaml, or name a `price_source` for an "
            "upstream."
        )
        return
    cells = [[cell(row, zone) for cell in COLUMNS.values()] for row in rows]
    shown = [
        index for index in range(len(COLUMNS)) if any(line[index] is not None for line in cells)
    ]
    columns = [
        Column(
            name, right=name in NUMBERS, drop=LEAST[::-1].index(name) + 1 if name in LEAST else 0
        )
        for name in COLUMNS
    ]
    print_table(
        [columns[index] for index in shown],
        [[line[index] or "" for index in shown] for line in cells],
    )


@price.command()
@common.config_option
@common.json_option
@click.argument("model")
@click.option("--upstream", metavar="NAME", help="At this upstream. Default: as the routes choose.")
@click.option("--at", metavar="TIME", help="At this time, such as 2026-11-01. Default: now.")
@click.option("--tier", metavar="TIER", help="For answers in this service tier.")
@click.option(
    "--input-tokens",
    type=click.IntRange(0),
    default=0,
    help="For requests of this many input tokens.",
)
@click.option("--team", metavar="TEAM", help="Also what this team is charged.")
def show(
    config_path: Path | None,
    as_json: bool,
    model: str,
    upstream: str | None,
    at: str | None,
    tier: str | None,
    input_tokens: int,
    team: str | None,
) -> None:
    """Show which row applies to MODEL, and what a million tokens cost.

    Cost and charge are after discount, exchange and markup. Exit code 1 if no row applies.

    \b
    Examples:
      tollkeeper price show deepseek-v3.2
      tollkeeper price show gpt-4o --upstream openai --at 2026-11-01 --tier flex
    """
    found = catalogue.in_effect(config_path)
    _known(found, upstream)
    zone = found.zone
    at_ms = (
        time.time_ns() // 1_000_000
        if at is None
        else dates.unix_ms(time_range.moment(at, "--at", zone))
    )
    assert at_ms is not None, "a moment was given"
    if team is not None and team not in found.teams:
        raise click.UsageError(f"there is no team {team!r} in the config.")
    where = upstream if upstream is not None else match(model, found.routes)
    if where is None:
        raise common.Failed(f"No route leads to {model!r}; name an upstream with --upstream.")
    book = found.book
    quote = book.quote(
        upstream=where,
        team=team,
        model_requested=model,
        model_served=None,
        service_tier=tier,
        input_tokens=input_tokens,
        at_ms=at_ms,
    )
    when = (
        datetime.fromtimestamp(at_ms // 1000, UTC)
        .astimezone(zone)
        .isoformat(sep=" ", timespec="minutes")
    )
    if quote is None:
        raise common.Failed(
            f"No price row with rates applies to {model!r} at {where} ({when}): its requests are "
            "recorded without a cost. Add a row to `prices`."
        )
    if as_json:
        said = {"model": model, "upstream": where, "at": when, "price_version": book.version}
        common.print_json(said | _quote_as_json(quote, book, zone))
        return
    common.print_fields(
        [("model", f"{model} at {where}, {when}"), *_quote_fields(quote, book, zone)]
    )
    _print_amounts(quote, book.currency, charged=team is not None)


def _effective(quote: Quote) -> dict[str, tuple[str | None, str | None]]:
    """Cost and charge of each rate of the row that applies."""
    return {
        name: explanation.effective(quote, name)
        for name in RATES
        if explanation.rate_of(quote.row, name) is not None
    }


def _quote_as_json(quote: Quote, book: PriceBook, zone: ZoneInfo) -> dict[str, Any]:
    effective = _effective(quote)
    return {
        "row": _json(quote.row, zone),
        "currency": book.currency,
        "discount": quote.discount,
        "fx_rate": quote.fx_rate,
        "markup": quote.markup,
        "cost": {name: cost for name, (cost, _) in effective.items()},
        "charge": {name: charge for name, (_, charge) in effective.items()},
    }


def _quote_fields(quote: Quote, book: PriceBook, zone: ZoneInfo) -> list[tuple[str, str]]:
    """The terms that decide an amount, as name and value."""
    fields = [
        ("row", explanation.name_of(quote.row, zone)),
        ("version", book.version),
    ]
    if quote.discount != "0":
        fields.append(("discount", quote.discount))
    if quote.row.currency != book.currency:
        exchange = f"1 {quote.row.currency} = {quote.fx_rate} {book.currency}"
        unknown = quote.fx_rate is None
        fields.append(("exchange", "no rate yet: its cost is unknown" if unknown else exchange))
    if quote.markup != "0":
        fields.append(("markup", quote.markup))
    return fields


def _print_amounts(quote: Quote, currency: str, *, charged: bool) -> None:
    heads = [f"listed {quote.row.currency}", f"cost {currency}"]
    if charged:
        heads.append(f"charge {currency}")
    effective = _effective(quote)
    rows = []
    for name in quote.row.rates():
        each = "" if name in ("image", "request") else " / 1M"
        amounts_of = (explanation.rate_of(quote.row, name), *effective[name])
        rows.append((f"{name}{each}", *map(formats.text, amounts_of[: len(heads)])))
    print_table([Column(""), *(Column(head, right=True) for head in heads)], rows)


def _known(found: catalogue.Catalogue, upstream: str | None) -> None:
    if upstream is not None and upstream not in found.upstreams:
        raise click.UsageError(
            f"there is no upstream {upstream!r} in the config; it has {', '.join(found.upstreams)}."
        )


def _place(row: PriceRow) -> tuple[object, ...]:
    return (
        row.rank,
        row.upstream or "",
        row.model,
        row.service_tier or "",
        row.above_input_tokens or 0,
        row.hours_utc or (0, 0),
        row.from_ms or 0,
    )


def _json(row: PriceRow, zone: tzinfo) -> dict[str, object]:
    """A row with the names that config.yaml gives its keys."""
    said: dict[str, object] = msgspec.to_builtins(row)
    said.pop("rank", None)
    if row.from_ms is not None:
        said["from"] = explanation.day(row.from_ms, zone)
    if row.hours_utc is not None:
        said["hours_utc"] = explanation.hours(row.hours_utc)
    return {"source": row.source} | {
        name: value for name, value in said.items() if name != "from_ms"
    }
