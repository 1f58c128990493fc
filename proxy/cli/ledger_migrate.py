"""`tollkeeper ledger migrate`: brings the ledger to this version's schema."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli import common
from proxy.ledger import bring_up


@click.command()
@common.config_option
@common.json_option
@click.option(
    "--url",
    metavar="URL",
    help="The ledger's URL with the role that owns the schema, in place of the config's "
    "`ledger.url`; no config is read. Its password may stand in PGPASSWORD or ~/.pgpass.",
)
@click.option(
    "--allow",
    "role",
    metavar="ROLE",
    help="Let this role of the database book and read, and nothing more.",
)
def migrate(config_path: Path | None, as_json: bool, url: str | None, role: str | None) -> None:
    """Bring the ledger to this version's schema, before a process does it at its start.

    In PostgreSQL the role that processes use need not own the tables. The owner then runs this
    before an upgrade. Processes of the version before go on with the new schema.

    \b
    Examples:
      tollkeeper ledger migrate -c config.yaml
      tollkeeper ledger migrate --url postgresql://tollkeeper_owner@db/tollkeeper \\
        --allow tollkeeper_app
    """
    if url is not None:  # who owns a database need not have the config
        found = common.ask(lambda: bring_up(url, Path(), role))
    else:
        settings = common.load_here(config_path).settings
        found = common.ask(lambda: bring_up(settings.ledger.url, settings.data_dir, role))
    if as_json:
        common.print_json(found)
        return
    if found.before == found.version:
        click.echo(f"{found.name} has schema version {found.version} already.")
    else:
        click.echo(f"{found.name} has schema version {found.version} now; it had {found.before}.")
    if role is not None:
        click.echo(f"{role} may book and read there.")
