"""`tollkeeper ledger archive`: takes old months out of the book, each into a checked file."""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.cli.own_ledger import done, on_own
from proxy.cli.tables import Column, print_table
from proxy.config.settings import Settings
from proxy.ledger import Ledger, connect_reader
from proxy.ledger.archives import FORCEABLE, Archive, ArchiveOrder, DueMonth
from proxy.ledger.sharing import is_shared

if TYPE_CHECKING:
    from proxy.accounting.archiving import job
    from proxy.admin import archiving
else:
    job = later("proxy.accounting.archiving.job")
    archiving = later("proxy.admin.archiving")

_COLUMNS = (
    Column("month"),
    Column("records", right=True),
    Column("seq", right=True),
    Column("stands against it"),
)


@click.command()
@common.config_option
@click.option("--before", required=True, metavar="YYYY-MM", help="Archive sealed months before it.")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Where the files go.",
)
@click.option(
    "--force",
    "forced",
    type=click.Choice(FORCEABLE),
    multiple=True,
    help="Archive although records have no price, or although no closed statement counts them.",
)
@click.option(
    "--url",
    metavar="URL",
    help="The URL of the config's ledger in PostgreSQL with a role that may delete records, such "
    "as the owner of the schema. Its password may stand in PGPASSWORD or ~/.pgpass.",
)
@click.option("--dry-run", is_flag=True, help="Only say which months are due.")
@click.option("--yes", is_flag=True, help="Archive without asking.")
@common.json_option
def archive(
    config_path: Path | None,
    before: str,
    target: Path,
    forced: tuple[str, ...],
    url: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write sealed months as Parquet files, and take their records out of the ledger.

    Each month gets a file, and a note with its root, signature, sums and checksum. The file is read
    back and held against the sealed root before a record leaves the book. Roll-ups stay, so `usage`
    of old months says what it said. `ledger verify` begins behind the month, at a sealed
    checkpoint. It cannot be taken back: keep the files.

    A month stays as long as a limit may count it, records have no price, or no closed statement
    counts all of it. A running process takes the records out; without one this command does. In
    PostgreSQL it always does, beside all processes. A role that only books may not: name another
    one with --url. Where the command was ended, the same again goes on.

    \b
    Examples:
      tollkeeper ledger archive --before 2026-01 --to /archive --dry-run
      tollkeeper ledger archive --before 2026-01 --to /archive --yes
      tollkeeper ledger archive --before 2026-01 --to /archive --yes \
        --url postgresql://tollkeeper_owner@db/tollkeeper
    """
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", before) is None:
        raise click.UsageError("--before is a month, such as 2026-01.")
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json goes with --dry-run or --yes.")
    book = _book(config_path, url)
    due = _due(book, before, forced)
    if not as_json:
        _print(due)
    if dry_run:
        if as_json:
            common.print_json([{"month": one.month, "obstacles": one.obstacles} for one in due])
        return
    if due and due[0].obstacles:
        raise common.Failed(f"{due[0].month.month} stays: {'; '.join(due[0].obstacles)}.")
    ready = _ready(due)
    if not yes and ready:
        click.confirm(f"Take {len(ready)} months out of the ledger?", abort=True, err=True)
    archived = [
        _archived(config_path, book, one, target, forced, shown=not as_json) for one in ready
    ]
    if as_json:
        common.print_json(archived)
    if not ready and is_shared(book.settings.ledger.url):
        _clear(book.settings, 0)


def _book(config_path: Path | None, url: str | None) -> common.OwnBook:
    """The ledger of the config, by another URL if there is one."""
    book = common.open_own_book(config_path, None, "ledger archive")
    if url is None:
        return book
    with common.told():
        if not (is_shared(url) and is_shared(book.settings.ledger.url)):
            raise click.UsageError("--url is another role's URL of a ledger in PostgreSQL.")
        reader = connect_reader(url, book.settings.data_dir)
    ledger = msgspec.structs.replace(book.settings.ledger, url=url)
    settings = msgspec.structs.replace(book.settings, ledger=ledger)
    return common.OwnBook(reader, book.zone, settings)


def _due(book: common.OwnBook, before: str, forced: Sequence[str]) -> list[DueMonth]:
    """The months that are due."""
    settings, now_ms = book.settings, time_ns() // 1_000_000
    return common.ask(
        lambda: job.due_months(settings.ledger.url, settings.data_dir, before, now_ms, forced)
    )


def _ready(due: Sequence[DueMonth]) -> list[DueMonth]:
    """Those before the first one that stays."""
    for place, one in enumerate(due):
        if one.obstacles:
            return list(due[:place])
    return list(due)


def _archived(
    config_path: Path | None,
    book: common.OwnBook,
    due: DueMonth,
    target: Path,
    forced: Sequence[str],
    *,
    shown: bool,
) -> Archive:
    month = due.month
    records = month.last_seq - month.first_seq + 1
    with common.told(), common.progress(f"Writing {month.month}", 2 * records) as advance:
        note = job.write_month(book.reader, due, target, advance)
    found = _taken_out(config_path, book.settings, job.order_of(note, forced))
    if shown:
        click.echo(
            f"{found.month}: {formats.count(records)} records are in {target / found.file}, "
            f"{formats.size(found.bytes)}, sha256 {found.sha256}"
        )
    return found


def _taken_out(config_path: Path | None, settings: Settings, order: ArchiveOrder) -> Archive:
    async def directly(ledger: Ledger, _settings: Settings) -> Archive:
        now_ms = time_ns() // 1_000_000
        return await ledger.archive(
            order, archiving.archive_deed(getpass.getuser(), "command line", now_ms, order)
        )

    if not is_shared(settings.ledger.url):
        return done(config_path, archiving.ARCHIVE_PATH, Archive, directly, body=order)
    with common.told():
        found = asyncio.run(on_own(settings, directly))
    _clear(settings, found.totals.records)
    return found


def _clear(settings: Settings, records: int) -> None:
    """Delete what was archived and is still in the database; about so many records."""
    with common.told(), common.progress("Deleting", records, shown=records > 0) as advance:
        asyncio.run(on_own(settings, lambda ledger, _settings: ledger.clear_archived(advance)))


def _print(due: Sequence[DueMonth]) -> None:
    if not due:
        click.echo("No sealed month before that is in the ledger: `tollkeeper ledger seal` seals.")
        return
    print_table(
        _COLUMNS,
        [
            (
                one.month.month,
                formats.count(one.month.last_seq - one.month.first_seq + 1),
                f"{one.month.first_seq} to {one.month.last_seq}",
                "; ".join(one.obstacles) or "nothing",
            )
            for one in due
        ],
    )
