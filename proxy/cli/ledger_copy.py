"""`tollkeeper ledger copy`: brings a ledger in SQLite into an empty database of PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.config.settings import Settings

if TYPE_CHECKING:
    from proxy.ledger import copying, sealing_key
else:
    copying, sealing_key = map(later, ("proxy.ledger.copying", "proxy.ledger.sealing_key"))


@click.command()
@common.config_option
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy the ledger.db in DIR, sealed with the ledger.key there. Without -c no config is "
    "read.",
)
@click.option(
    "--to",
    "to_url",
    required=True,
    metavar="URL",
    envvar="TOLLKEEPER_COPY_TO",
    help="The empty database, postgresql://USER@HOST/DATABASE. The password is better in "
    "PGPASSWORD or ~/.pgpass than here, where other users of this machine see it. "
    "Default: $TOLLKEEPER_COPY_TO.",
)
@common.json_option
def copy(config_path: Path | None, data_dir: Path | None, to_url: str, as_json: bool) -> None:
    """Copy a ledger in SQLite into an empty database of PostgreSQL: all of it, or nothing.

    Every row keeps its values and its hash. When all is there, the hashes are worked out again and
    the sums of both ledgers are compared; if anything differs, the database stays empty. No process
    may run on the ledger meanwhile. The ledger that is copied is not changed.

    \b
    Example:
      tollkeeper ledger copy -c config.yaml --to postgresql://tollkeeper_app@db/tollkeeper
    """
    settings = (
        Settings()
        if data_dir is not None and config_path is None
        else common.load_local(config_path).settings
    )
    where = settings.data_dir if data_dir is None else data_dir
    key_file = where / settings.ledger.key_file
    with common.told():
        key = sealing_key.read_key(key_file) if key_file.exists() else None
        found = copying.copy(settings.ledger.url, where, to_url, key, _told)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        common.print_json(found)
        return
    common.print_fields(_fields(found))
    click.echo(
        "\nBoth are equal. Name the database in ledger.url, keep data_dir with its journal and its "
        "ledger.key, and start the process."
    )


def _told(what: str, rows: int) -> None:
    """Shows on a terminal what is copied or checked, and how far that is."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{what}: {formats.count(rows)}", nl=False, err=True)


def _fields(found: copying.Copied) -> list[tuple[str, str]]:
    others = {
        table.replace("_", " "): formats.count(rows)
        for table, rows in found.rows.items()
        if rows and table not in ("records", "heads")
    }
    seals = formats.count(found.seals)
    if found.seals_of_other_keys:
        seals += f", {formats.count(found.seals_of_other_keys)} of another key, not checked"
    charges = [
        f"{formats.money(nano)} {currency}" for currency, nano in sorted(found.charges.items())
    ]
    return [
        ("records", f"{formats.count(found.rows['records'])}, with the hashes they had"),
        ("seals", seals),
        ("head", f"seq {found.last_seq}, {formats.text(found.last_hash)}"),
        ("requests", formats.count(found.requests)),
        ("charges", ", ".join(charges) or formats.text(None)),
        *others.items(),
    ]
