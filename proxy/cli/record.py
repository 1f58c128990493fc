"""`tollkeeper record show ID`: every number of one record, and its adjustments."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.explained import Explained, explained, in_words
from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.core.records.by_hand import BY_HAND
from proxy.core.records.canonical import COLUMNS
from proxy.ledger.reading import Entry

if TYPE_CHECKING:
    from proxy.accounting.archiving import found as archived
else:
    archived = later("proxy.accounting.archiving.found")


_archive_option = click.option(
    "--archive",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Where the files of archived months are.",
)


@click.group()
def record() -> None:
    """Single ledger records."""


@record.command()
@common.config_option
@common.data_dir_option
@common.json_option
@_archive_option
@click.argument("id")
def show(
    config_path: Path | None, data_dir: Path | None, as_json: bool, archive: Path | None, id: str
) -> None:
    """Show one record, how its amounts came about, and its adjustments.

    ID is the `x-tollkeeper-id` of the answer.

    \b
    Example:
      tollkeeper record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.reader.record(id))
    if found is None:
        _show_archived(book, archive, id, as_json=as_json)
        return
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
@_archive_option
@click.argument("id")
def proof(
    config_path: Path | None, data_dir: Path | None, form: str, archive: Path | None, id: str
) -> None:
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
    if found is None and archive is not None:
        found = common.ask(lambda: archived.proof_in(archive, book.reader.archives(), id))
    if found is None:
        raise _missing(book, id, archive)
    if form == "json":
        common.print_json(found)
    else:
        click.echo(found.tlog_proof(), nl=False)


def _show_archived(
    book: common.OpenLedger, archive: Path | None, id: str, *, as_json: bool
) -> None:
    """Show a record that is in the file of an archived month. Raises Failed where it is in none."""
    found: list[Entry] = []
    if archive is not None:
        found = common.ask(lambda: archived.record_in(archive, book.reader.archives(), id))
    if not found:
        raise _missing(book, id, archive)
    # What corrects it may have been booked in a month that is in the ledger still.
    found += common.ask(lambda: book.reader.adjustments(id))
    if book.key_file is None:
        click.echo(
            "Note: corrections that the ledger still has are shown where it is, and not here.",
            err=True,
        )
    if as_json:
        first, *others = map(flat, found)
        common.print_json(first | {"adjustments": others})
        return
    for entry in found:
        _print(entry, book.zone)


def _missing(book: common.OpenLedger, id: str, archive: Path | None) -> common.Failed:
    """What to say of a record that is not found."""
    where = None
    if archive is None:
        where = archived.where(common.ask(book.reader.archives), id)
    return common.Failed(
        f"The ledger has no record {id}. "
        + (f"{where[0].upper()}{where[1:]}. " if where is not None else "")
        + "A request is booked within moments of its end. One that the proxy refused never is: "
        "`tollkeeper limit refusals` counts those, and the log has a line for each."
    )


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
