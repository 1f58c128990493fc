"""`tollkeeper ledger rebuild`: makes the roll-ups anew from the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.cli.own_ledger import done
from proxy.cli.tables import printable
from proxy.config.settings import Settings
from proxy.ledger import Ledger
from proxy.ledger.verification import BookVerified, verify

if TYPE_CHECKING:
    from proxy.admin import verifying
else:
    verifying = later("proxy.admin.verifying")


@click.command()
@common.config_option
@common.json_option
@click.option("--dry-run", is_flag=True, help="Only say what the roll-ups say wrongly.")
@click.option("--yes", is_flag=True, help="Make them anew without asking.")
def rebuild(config_path: Path | None, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Make the roll-ups anew from the records, in one transaction.

    Roll-ups are the sums that `usage`, limits and dashboards read. The command first says what
    they say otherwise than the records. It refuses where the records themselves were changed.

    The running process does the work; records wait in its journal meanwhile. Without one the
    command works on the ledger itself. The exit code of --dry-run is 3 if something is wrong.

    \b
    Examples:
      tollkeeper ledger rebuild --dry-run
      tollkeeper ledger rebuild --yes
    """
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json goes with --dry-run or --yes.")
    book = common.open_book(config_path, None)
    with common.progress("Verifying", 2 * common.ask(book.reader.head)) as advance:
        parts = ("records", "rollups", "wide")
        found = common.ask(lambda: verify(book.reader, book.key_file, advance, parts))
    if not as_json:
        _print(found)
    if found.parts[0].found:
        raise common.Failed(
            "The records are not as they were booked, and roll-ups made of them would hide it. "
            "`tollkeeper ledger verify` says what is wrong; restore the ledger from a backup."
        )
    if dry_run:
        if as_json:
            common.print_json({"ok": not found.found} | msgspec.to_builtins(found))
        raise click.exceptions.Exit(3 if found.found else 0)
    if not yes and found.found:
        click.confirm("Make all roll-ups anew?", abort=True, err=True)
    if not yes and not found.found:
        return
    records = done(config_path, verifying.REBUILD_PATH, verifying.Rebuilt, _directly).records
    if as_json:
        common.print_json({"records": records, "differences": found.found})
    else:
        click.echo(f"All roll-ups are made of {formats.count(records)} records now.")


async def _directly(ledger: Ledger, _settings: Settings) -> verifying.Rebuilt:
    return verifying.Rebuilt(await ledger.rebuild())


def _print(found: BookVerified) -> None:
    for flaw in found.findings:
        click.echo(printable(flaw.what))
    if found.found > len(found.findings):
        click.echo(f"... and {formats.count(found.found - len(found.findings))} more.")
    if not found.found:
        click.echo("The roll-ups say what the records say.")
