"""`tollkeeper ledger replay`: books into a restored ledger what the journals have behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import __version__
from proxy.cli import admin_client, common, formats
from proxy.cli.lazy import later
from proxy.cli.own_ledger import own_ledger
from proxy.cli.tables import Column, print_table
from proxy.config.settings import Settings
from proxy.journal import JournalUnavailable
from proxy.ledger import connect_reader

if TYPE_CHECKING:
    from proxy.accounting import replay as replaying
    from proxy.metrics import collector
    from proxy.server import startup
else:
    replaying = later("proxy.accounting.replay")
    collector = later("proxy.metrics.collector")
    startup = later("proxy.server.startup")

_COLUMNS = (
    Column("journal"),
    Column("booked up to", right=True),
    Column("ended behind it", right=True),
    Column("left open", right=True),
    Column("damage"),
)


@click.command()
@common.config_option
@click.option("--dry-run", is_flag=True, help="Only say what the journals have beyond the ledger.")
@common.json_option
def replay(config_path: Path | None, dry_run: bool, as_json: bool) -> None:
    """Book into a restored ledger what the journals beside it have.

    Each start of `serve` does the same. This command does it without serving, and tells what it
    booked. Requests that a process left open when it died are charged by what it had marked. What
    is booked already is not booked again. No process may run.

    The exit code is 3 if a journal no longer has everything that came after the backup: it keeps
    what was booked for `journal.keep`.

    \b
    Examples:
      tollkeeper ledger replay --dry-run
      tollkeeper ledger replay
    """
    settings = common.load_local(config_path).settings
    if admin_client.here(settings) is not None:
        raise common.Failed(
            f"A process runs on {settings.data_dir}: its start booked what the journals had."
        )
    with common.told():
        try:
            found = _looked(settings) if dry_run else asyncio.run(_replayed(settings))
        except (JournalUnavailable, startup.StartError) as error:
            raise common.Failed(str(error)) from error
        except OSError as error:
            raise common.Failed(
                f"a journal in {settings.data_dir / 'journal'} cannot be read: {error}"
            ) from error
    if as_json:
        common.print_json(found)
    else:
        _print(found, dry_run=dry_run)
    if not all(journal.is_whole for journal in found.journals):
        raise click.exceptions.Exit(3)


def _looked(settings: Settings) -> replaying.Replayed:
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    journals = replaying.look(settings.data_dir / "journal", reader)
    state = reader.status()
    return replaying.Replayed(journals, 0, 0, 0, state.last_seq or 0, state.last_hash)


async def _replayed(settings: Settings) -> replaying.Replayed:
    snapshot = startup.compiled(settings)
    async with own_ledger(settings) as (ledger, reader):
        return await replaying.replay(
            settings.data_dir / "journal",
            startup.journal_options(settings),
            ledger,
            reader,
            collector.Metrics(settings.metrics, __version__),
            snapshot.prices,
        )


def _print(found: replaying.Replayed, *, dry_run: bool) -> None:
    print_table(_COLUMNS, list(map(_row, found.journals)))
    if dry_run:
        click.echo("Nothing was booked.")
        return
    click.echo(
        f"Booked: {formats.count(found.records)} records, of them adjustments: "
        f"{formats.count(found.adjustments)}. {formats.count(found.settled)} requests that were "
        "left open were charged by what was marked."
    )
    click.echo(f"head: seq {found.last_seq}, hash {formats.text(found.last_hash)}")


def _row(journal: replaying.JournalReplay) -> Sequence[str]:
    damage = [
        f"{formats.count(count)} {what}"
        for count, what in (
            (journal.missing, "entries missing"),
            (journal.unreadable, "records unreadable"),
            (journal.skipped_bytes, "bytes damaged"),
        )
        if count
    ]
    if journal.stranger is not None:
        damage.append("of another ledger")
    name = f"{journal.writer} (in use)" if journal.in_use else journal.writer
    return (
        name,
        str(journal.after_seq),
        formats.count(journal.ended),
        formats.count(journal.open),
        ", ".join(damage) or "none",
    )
