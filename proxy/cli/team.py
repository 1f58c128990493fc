"""`tollkeeper team`: who pays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from proxy.cli import common, desk, formats, tenant_options
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table

if TYPE_CHECKING:
    from proxy.admin import tenant_views as views
else:
    views = later("proxy.admin.tenant_views")

PATH = "/admin/v1/teams"
_COLUMNS = (
    Column("team"),
    Column("state"),
    Column("keys", right=True),
    Column("limits", drop=1),
    Column("models", drop=2),
    Column("from", drop=3),
)


@click.group()
def team() -> None:
    """Teams, which pay for their keys."""


@team.command()
@common.config_option
@common.json_option
@click.argument("name")
@tenant_options.words
@tenant_options.reason
def create(
    config_path: Path | None,
    as_json: bool,
    name: str,
    says: dict[str, Any],
    reason: str | None,
) -> None:
    """Make a team. What it is charged beside its costs stands in config.yaml alone.

    \b
    Example:
      tollkeeper team create lab --limit "500 USD/month" --model 'gpt-*' --label cost_center=4711
    """
    order = {"name": name, "says": says, "reason": reason}
    made = desk.ask(config_path, "POST", PATH, order, type=views.TeamView)
    if as_json:
        common.print_json(made)
    else:
        click.echo(f"Made the team {made.name}.")


@team.command("list")
@common.config_option
@common.json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the teams, their state and how many keys each has.

    They are in the order of their names, team-2 before team-10.

    \b
    Example:
      tollkeeper team list
    """
    found: list[views.TeamView] = []
    after: str | None = ""
    while after is not None:
        target = f"{PATH}?{urlencode({'after': after})}"
        page = desk.ask(config_path, "GET", target, type=views.Teams)
        found += page.teams
        after = page.next
    found.sort(key=lambda one: formats.natural(one.name))
    if as_json:
        common.print_json(found)
        return
    rows = [
        (
            one.name,
            one.state if one.fault is None else "refused",
            formats.count(one.keys),
            "defaults" if one.limits is None else ", ".join([*one.limits, *one.limits_add]),
            ", ".join(one.models) or "all",
            one.managed_by,
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)


@team.command()
@common.config_option
@common.json_option
@click.argument("name")
def show(config_path: Path | None, as_json: bool, name: str) -> None:
    """Show one team.

    \b
    Example:
      tollkeeper team show lab
    """
    one = desk.ask(config_path, "GET", desk.path(PATH, name), type=views.TeamView)
    if as_json:
        common.print_json(one)
        return
    rows = [
        ("team", one.name),
        ("state", one.state),
        ("refused because", formats.text(one.fault)),
        ("keys", formats.count(one.keys)),
        *tenant_options.shown(one),
        ("made", formats.moment(one.created_at_ms)),
        ("made by", formats.text(one.created_by)),
    ]
    common.print_fields([row for row in rows if row[1] != formats.UNKNOWN])


@team.command()
@common.config_option
@click.argument("name")
@tenant_options.words
@tenant_options.take_back
@tenant_options.reason
def edit(config_path: Path | None, name: str, says: dict[str, Any], reason: str | None) -> None:
    """Change a team's words: each option replaces what stood there.

    An option that may be given again replaces all that stood there.

    \b
    Example:
      tollkeeper team edit lab --limit "800 USD/month"
    """
    order = {"says": says, "reason": reason}
    desk.ask(config_path, "PATCH", desk.path(PATH, name), order, type=views.Done)
    click.echo(f"Changed {name}.")


for _command in tenant_options.state_commands(PATH, "team"):
    team.add_command(_command)
