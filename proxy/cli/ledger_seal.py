"""`tollkeeper ledger seal`: puts each month that is over under one signed root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.cli.own_ledger import done
from proxy.config.settings import Settings
from proxy.ledger import Ledger, SealedMonth
from proxy.ledger.signing import FILE

if TYPE_CHECKING:
    from proxy.admin import months
else:
    months = later("proxy.admin.months")


@click.command()
@common.config_option
@common.json_option
def seal(config_path: Path | None, as_json: bool) -> None:
    """Put each month that is over under one signed root.

    The root is that of a Merkle tree over the records that were booked in the month. It is signed
    with the key in data_dir/ledger.ed25519.pem, which is made at first: keep a copy elsewhere. Then
    `record proof` proves to anybody that a record is in the month.

    A month that is sealed stays as it is. The running process does the work; without one the
    command works on the ledger itself. Let a timer call it each day.

    \b
    Example:
      tollkeeper ledger seal
    """
    found = done(config_path, months.SEAL_PATH, months.SealedMonths, _directly)
    _print(found.sealed, as_json)


async def _directly(ledger: Ledger, settings: Settings) -> months.SealedMonths:
    signing_key = (settings.data_dir / settings.ledger.key_file).with_name(FILE)
    return months.SealedMonths(await ledger.seal_months(ZoneInfo(settings.timezone), signing_key))


def _print(sealed: list[SealedMonth], as_json: bool) -> None:
    if as_json:
        common.print_json(sealed)
        return
    for month in sealed:
        records = formats.count(month.last_seq - month.first_seq + 1)
        click.echo(f"{month.month}: {records} records, seq {month.first_seq} to {month.last_seq}")
        click.echo(month.checkpoint)
    if not sealed:
        click.echo("Every month that is over is sealed.")
