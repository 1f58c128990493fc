"""`tollkeeper record show ID`: every number of one record, and what corrects it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import amounts, common
from proxy.ledger.canonical import COLUMNS
from proxy.ledger.queries import Entry


@click.group()
def record() -> None:
    """Single ledger records."""


@record.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.argument("id")
def show(config_path: Path | None, data_dir: Path | None, as_json: bool, id: str) -> None:
    """Show the record with this ID (`x-tollkeeper-id` of the answer) and its adjustments.

    \b
    Example:
      tollkeeper record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.queries.record(id))
    if found is None:
        raise common.Failed(f"The ledger has no record {id}. A request is booked within moments of its end; a refused one never is.")
    adjustments = common.ask(lambda: book.queries.adjustments(id))
    if as_json:
        common.print_json(flat(found) | {"adjustments": [flat(entry) for entry in adjustments]})
        return
    for entry in (found, *adjustments):
        _print(entry, book.zone)


def flat(entry: Entry) -> dict[str, object]:
    """A booked record as one mapping, in the order of the ledger's columns."""
    added: dict[str, object] = msgspec.to_builtins(entry)
    own: dict[str, object] = msgspec.to_builtins(entry.record)
    fields = own | added
    return {name: fields[name] for name in COLUMNS}


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
