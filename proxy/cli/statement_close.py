"""`tollkeeper statement close`: freezes a month's statement, signs it and keeps it for good."""

from __future__ import annotations

import getpass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from proxy.accounting.statements.closing import CloseOrder, Closer, CloseRefused, Who
from proxy.accounting.statements.document import as_markdown
from proxy.accounting.statements.kept import thawed
from proxy.cli import common, time_range
from proxy.cli.lazy import later
from proxy.cli.own_ledger import done
from proxy.config.settings import Settings
from proxy.core.statements.closing import ClosedStatement
from proxy.ledger import Ledger, connect_reader
from proxy.ledger.sharing import connect_sharing
from proxy.ledger.signing import FILE

if TYPE_CHECKING:
    from proxy.admin import statements
else:
    statements = later("proxy.admin.statements")


@click.command()
@common.config_option
@click.argument("month", metavar="YYYY-MM")
@click.option("--team", help="Only what this team used.")
@click.option(
    "--zone",
    metavar="ZONE",
    help="Of the month's first midnight. Default: as the statement before, else as configured.",
)
@click.option(
    "--force",
    type=click.Choice(["unpriced", "unbooked"]),
    multiple=True,
    help="Close although this is open; the statement says so. May be given again.",
)
@click.option("--reason", metavar="TEXT", help="Why: stands in the audit.")
@common.json_option
def close(
    config_path: Path | None,
    month: str,
    team: str | None,
    zone: str | None,
    force: tuple[str, ...],
    reason: str | None,
    as_json: bool,
) -> None:
    """Close a month: freeze its statement, sign it and keep it for good.

    `statement show` then shows this month as it was closed. What is booked for it later, such as a
    new price or a late record, is in the statement that is closed next, under the month that it
    belongs to. So each record is in exactly one statement, and all of them come to what the ledger
    says.

    A statement with --team has that team's records. One without has all that no statement of a
    team has: close the teams that are billed apart first.

    It is refused while the month runs, while an earlier month with records is open, while requests
    of the month have no price, and while some are not booked.

    The running process does the work; without one the command works on the ledger itself.

    \b
    Examples:
      tollkeeper statement close 2026-11
      tollkeeper statement close 2026-11 --team research --zone Europe/Berlin
    """
    time_range.check_month(month, "YYYY-MM")
    if zone is not None:
        time_range.zone(zone)
    # click hands the choices of `--force` over as plain text.
    order = CloseOrder(month=month, team=team, zone=zone, force=force, reason=reason)  # type: ignore[arg-type]

    async def directly(ledger: Ledger, settings: Settings) -> statements.KeptStatement:
        return statements.KeptStatement.of(await _closed(ledger, settings, order))

    kept = done(config_path, statements.STATEMENTS_PATH, statements.KeptStatement, directly, order)
    closing = kept.closing
    if as_json:
        common.print_json(closing)
        return
    click.echo(as_markdown(thawed(kept.document.encode())), nl=False)
    click.echo(
        f"\nClosed as statement {closing.number}, through seq {closing.through}, SHA-256 "
        f"{closing.digest}",
        err=True,
    )


async def _closed(ledger: Ledger, settings: Settings, order: CloseOrder) -> ClosedStatement:
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    sharing = connect_sharing(settings.ledger.url)
    now_ms = time_ns() // 1_000_000

    async def unbooked(before_ms: int) -> list[str]:
        return await statements.what_is_behind(reader, sharing, settings, before_ms, now_ms)

    key = (settings.data_dir / settings.ledger.key_file).with_name(FILE)
    closer = Closer(reader, ledger, ZoneInfo(settings.timezone), key, unbooked)
    try:
        return await closer.close(order, Who(getpass.getuser(), "command line", now_ms))
    except CloseRefused as error:
        raise common.Failed(f"The month is not closed: {error}.") from error
    finally:
        if sharing is not None:
            await sharing.aclose()
