"""`tollkeeper ledger`: the book as a whole, its state and that of the journal behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from proxy.cli import common, formats
from proxy.cli.export import export
from proxy.cli.lazy import LazyGroup
from proxy.cli.tables import printable
from proxy.journal import JournalFigures
from proxy.ledger.reading import Status
from proxy.ledger.verification import NEWEST, VerifyStep


@click.group(
    cls=LazyGroup,
    commands=[export],
    lazy={
        "adjust": (
            "proxy.cli.ledger_adjust:adjust",
            "Book an amount by hand, or move a month's use to another team or label.",
        ),
        "archive": (
            "proxy.cli.ledger_archive:archive",
            "Write sealed months as Parquet files, and take their records out of the ledger.",
        ),
        "backup": (
            "proxy.cli.ledger_backup:backup",
            "Copy the ledger into FILE, as it stands at one moment, while a process may use it.",
        ),
        "migrate": (
            "proxy.cli.ledger_migrate:migrate",
            "Bring the ledger to this version's schema, before a process does it at its start.",
        ),
        "copy": (
            "proxy.cli.ledger_copy:copy",
            "Copy a ledger in SQLite into an empty database of PostgreSQL: all of it, or nothing.",
        ),
        "erase-user": (
            "proxy.cli.ledger_erase:erase_user",
            "Delete the salt of the end user NAME, so that no record can be linked with the name "
            "any more.",
        ),
        "push": (
            "proxy.cli.ledger_push:push",
            "Send the records that URL has not got yet, as CloudEvents 1.0 in batches.",
        ),
        "reconcile": (
            "proxy.cli.reconcile:reconcile",
            "Hold the ledger against a vendor's bill.",
        ),
        "anchor": (
            "proxy.cli.ledger_anchor:anchor",
            "Print where the book ends now, as one line of JSON to keep elsewhere.",
        ),
        "rebuild": (
            "proxy.cli.ledger_rebuild:rebuild",
            "Make the roll-ups anew from the records, in one transaction.",
        ),
        "replay": (
            "proxy.cli.ledger_replay:replay",
            "Book into a restored ledger what the journals beside it have.",
        ),
        "seal": (
            "proxy.cli.ledger_seal:seal",
            "Put each month that is over under one signed root.",
        ),
        "verify": (
            "proxy.cli.ledger_verify:verify",
            "Check that the book is as it was written.",
        ),
    },
)
def ledger() -> None:
    """The ledger as a whole."""


@ledger.command()
@common.config_option
@common.data_dir_option
@common.json_option
def status(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the state of the ledger and of the journal behind it.

    It changes nothing. A process may be running or not.

    \b
    Example:
      tollkeeper ledger status
    """
    book = common.open_book(config_path, data_dir)
    state = common.ask(book.reader.status)
    newest = common.ask(lambda: book.reader.verify_step(NEWEST, None, book.key_file))
    journals = book.journals(state.writers)
    if as_json:
        common.print_json({"ledger": state, "journal": journals, "newest": newest})
        return
    common.print_fields([*_ledger_rows(state, book.zone), ("newest records", _newest(newest))])
    for flaw in newest.findings:
        click.echo(f"Warning: {printable(flaw.what)}", err=True)
    for one in journals:
        click.echo(f"\nJournal {one.writer}")
        common.print_fields(_journal_rows(one))


def _ledger_rows(state: Status, zone: ZoneInfo) -> list[tuple[str, str]]:
    booked = (
        None
        if state.last_booked_at_ms is None
        else datetime.fromtimestamp(state.last_booked_at_ms // 1000, UTC)
        .astimezone(zone)
        .isoformat(sep=" ")
    )
    return [
        ("ledger", state.path),
        ("size", formats.size(state.bytes)),
        ("schema version", str(state.schema_version)),
        ("records", formats.count(state.records)),
        ("of them corrections", formats.count(state.adjustments)),
        ("seq", f"{formats.text(state.first_seq)} to {formats.text(state.last_seq)}"),
        ("sealed up to seq", formats.text(state.sealed_seq)),
        ("last booked", formats.text(booked)),
        ("head", formats.text(state.last_hash)),
    ]


def _newest(found: VerifyStep) -> str:
    if not found.found:
        return f"{formats.count(found.rows)}, with their roll-ups, are as they were written"
    return f"{formats.count(found.found)} things are wrong: `tollkeeper ledger verify` says more"


def _journal_rows(one: JournalFigures) -> list[tuple[str, str]]:
    return [
        ("in use", "by a running process" if one.in_use else "no"),
        ("size", formats.size(one.bytes)),
        ("segments", f"{one.segments - one.finished} in use, {one.finished} finished"),
        (
            "ended exchanges",
            f"{formats.count(one.unbooked_closes)} not booked yet"
            if one.unbooked_closes
            else "all booked",
        ),
        ("open exchanges", formats.count(one.open_exchanges)),
        ("unreadable", formats.size(one.skipped_bytes)),
    ]
