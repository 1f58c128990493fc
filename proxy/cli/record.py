"""`tollkeeper record show ID`: every number of one record, and what corrects it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import amounts, common, explanation
from proxy.core.usage import UsageRecord
from proxy.ledger.canonical import COLUMNS
from proxy.ledger.queries import Entry, Queries
from proxy.prices import PriceBook


@click.group()
def record() -> None:
    """Single ledger records."""


@record.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.argument("id")
def show(config_path: Path | None, data_dir: Path | None, as_json: bool, id: str) -> None:
    """Show the record with this ID (`x-tollkeeper-id` of the answer), how its amounts came about, and its adjustments.

    \b
    Example:
      tollkeeper record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.queries.record(id))
    if found is None:
        raise common.Failed(f"The ledger has no record {id}. A request is booked within moments of its end; a refused one never is.")
    adjustments = common.ask(lambda: book.queries.adjustments(id))
    how = common.ask(lambda: _explained(found.record, book.queries))
    if as_json:
        common.print_json(flat(found) | {"adjustments": [flat(entry) for entry in adjustments], "explanation": how})
        return
    _print(found, book.zone)
    if how is not None:
        click.echo(f"How its amounts came about, by the prices of version {how.price_version}")
        common.print_fields(explanation.lines(how, book.zone))
    elif found.record.price_version is not None:
        click.echo(f"The ledger does not hold the prices of version {found.record.price_version} that its amounts were made with.")
    for entry in adjustments:
        _print(entry, book.zone)


def flat(entry: Entry) -> dict[str, object]:
    """A booked record as one mapping, in the order of the ledger's columns."""
    added: dict[str, object] = msgspec.to_builtins(entry)
    own: dict[str, object] = msgspec.to_builtins(entry.record)
    fields = own | added
    return {name: fields[name] for name in COLUMNS}


def _explained(record: UsageRecord, queries: Queries) -> explanation.Explanation | None:
    """The record's amounts worked out again, by what the ledger says they were made with."""
    terms = None if record.price_version is None or record.kind != "usage" else queries.price_terms(record.price_version)
    return None if terms is None else explanation.explain(record, PriceBook.from_terms(terms))


def _print(entry: Entry, zone: ZoneInfo) -> None:
    title = "Record" if entry.record.adjusts is None else f"Adjustment of {entry.record.adjusts}"
    click.echo(f"{title} {entry.record.id}")
    common.print_fields([(name.removesuffix("_nano"), _shown(name, value, zone)) for name, value in flat(entry).items()])


def _shown(name: str, value: object, zone: ZoneInfo) -> str:
    """A field for people: times with their zone, money as decimals, JSON for what is nested."""
    if value is None:
        return amounts.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name.endswith("_at_ms"):
            return f"{datetime.fromtimestamp(value // 1000, UTC).astimezone(zone).isoformat(sep=' ')} ({value})"
        return amounts.money(value) if name.endswith("_nano") else amounts.count(value) if name.endswith("_tokens") else str(value)
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else str(value)
