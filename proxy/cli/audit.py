"""`tollkeeper audit`: who changed a key, a team or the config, when, from where and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli import admin_client, common, desk, formats
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table
from proxy.ledger import connect_reader

if TYPE_CHECKING:
    from proxy.admin import tenant_views as views
else:
    views = later("proxy.admin.tenant_views")

PATH = "/admin/v1/audit"
_COLUMNS = (
    Column("seq", right=True),
    Column("when"),
    Column("who"),
    Column("what"),
    Column("name"),
    Column("why", drop=1),
    Column("from", drop=2),
)


@click.group()
def audit() -> None:
    """What was done to keys, teams and the config."""


@audit.command("list")
@common.config_option
@common.json_option
@click.option("--after", type=int, default=0, help="Only entries behind this seq.")
def list_(config_path: Path | None, as_json: bool, after: int) -> None:
    """List the entries, the oldest first.

    --json shows what stood there before and after.

    \b
    Example:
      tollkeeper audit list --after 100
    """
    found: list[views.Deed] = []
    at: int | None = after
    while at is not None:
        page = desk.ask(config_path, "GET", f"{PATH}?after={at}", type=views.Deeds)
        found += page.audit
        at = page.next
    if as_json:
        common.print_json(found)
        return
    rows = [
        (
            str(one.seq),
            formats.moment(one.at_ms),
            one.actor,
            one.action,
            one.name,
            formats.text(one.reason),
            one.origin,
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)


@audit.command()
@common.config_option
def verify(config_path: Path | None) -> None:
    """Check that every entry is as it was written.

    With TOLLKEEPER_ADMIN_URL that process checks it, with its own ledger and key. Without, this
    reads them in the config's data_dir. The exit code is 3 if an entry was changed, added or
    taken out.

    \b
    Example:
      tollkeeper audit verify
    """
    if (process := admin_client.elsewhere()) is not None:
        found = admin_client.ask(process, "GET", f"{PATH}/verify", type=views.Problems)
        problems = found.problems
    else:
        settings = common.load_here(config_path).settings
        key_file = settings.data_dir / settings.ledger.key_file
        with common.told():
            reader = connect_reader(settings.ledger.url, settings.data_dir)
            problems = reader.audit_problems(key_file)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.exceptions.Exit(3)
    click.echo("Every entry is as it was written.")
