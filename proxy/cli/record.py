"""`tollkeeper record show ID`: every number of one record, and its adjustments."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.explained import Explained, explained, in_words
from proxy.cli import common, formats
from proxy.core.records.by_hand import BY_HAND
from proxy.core.records.canonical import COLUMNS
from proxy.ledger.reading import Entry


@click.group()
def record() -> None:
    """Single ledger records."""


@record.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.argument("id")
def show(config_path: Path | None, data_dir: Path | None, as_json: bool, id: str) -> None:
    """Show one record, how its amounts came about, and its adjustments.

    ID is the `x-tollkeeper-id` of the answer.

    \b
    Example:
      tollkeeper record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.reader.record(id))
    if found is None:
        raise common.Failed(
            f"The ledger has no record {id}. A request is booked within moments of its end. One "
            "that the proxy refused never is: `tollkeeper limit refusals` counts those, and the "
            "log has a line for each."
        )
    told = common.ask(lambda: list(explained(found, book.reader)))
    if as_json:
        first, *others = (flat(one.entry) | {"explanation": one.how} for one in told)
        common.print_json(first | {"adjustments": others})
        return
    for one in told:
        _print(one.entry, book.zone)
        _print_how(one, book.zone)


@record.command()
@common.config_option
@common.data_dir_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "tlog-proof"]),
    default="json",
    show_default=True,
    help="tlog-proof: as transparency logs have it, c2sp.org/tlog-proof.",
)
@click.argument("id")
def proof(config_path: Path | None, data_dir: Path | None, form: str, id: str) -> None:
    """Prove that one record is in its sealed month.

    Anybody who has the public key of the ledger's months can check it, without this program and
    without any secret: the record, the path to the month's root, and the root's signature.
    docs/book.md says how.

    \b
    Example:
      tollkeeper record proof 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.reader.proof(id))
    if found is None:
        raise common.Failed(f"The ledger has no record {id}: `tollkeeper record show` says more.")
    if form == "json":
        common.print_json(found)
    else:
        click.echo(found.tlog_proof(), nl=False)


def flat(entry: Entry) -> dict[str, object]:
    """A booked record as one mapping, in the order of the ledger's columns."""
    added: dict[str, object] = msgspec.to_builtins(entry)
    own: dict[str, object] = msgspec.to_builtins(entry.record)
    fields = own | added
    return {name: fields[name] for name in COLUMNS}


def _print_how(told: Explained, zone: ZoneInfo) -> None:
    """Print how the amounts came about, one step a line."""
    words = in_words(told, zone)
    if words is not None:
        click.echo(words.sentence)
        if words.steps:
            common.print_fields(words.steps)


def _print(entry: Entry, zone: ZoneInfo) -> None:
    adjusts = entry.record.adjusts
    title = "Record" if adjusts is None else f"Adjustment of {adjusts}"
    title = "Entry by hand" if entry.record.origin == BY_HAND else title
    click.echo(f"{title} {entry.record.id}")
    common.print_fields(
        [
            (name.removesuffix("_nano"), _shown(name, value, zone))
            for name, value in flat(entry).items()
        ]
    )


def _shown(name: str, value: object, zone: tzinfo) -> str:
    """A field for people: times with their zone, money as decimals, JSON for what is nested."""
    if value is None:
        return formats.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name.endswith("_at_ms"):
            return (
                f"{datetime.fromtimestamp(value // 1000, UTC).astimezone(zone).isoformat(sep=' ')} "
                f"({value})"
            )
        return (
            formats.money(value)
            if name.endswith("_nano")
            else formats.count(value)
            if name.endswith("_tokens")
            else str(value)
        )
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else str(value)
