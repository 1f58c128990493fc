"""`tollkeeper reload`: the running process reads its config again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import admin_client, common, tenant_options
from proxy.cli.lazy import later

if TYPE_CHECKING:
    from proxy.admin import reload as reloading
else:
    reloading = later("proxy.admin.reload")


@click.command()
@common.config_option
@common.json_option
@click.option("--cut", is_flag=True, help="End what runs for keys that are not let through now.")
@tenant_options.reason
def reload(config_path: Path | None, as_json: bool, cut: bool, reason: str | None) -> None:
    """Let the running process read its config again, and say what changed.

    A config that cannot be used changes nothing: the old one stays, and this says why.

    \b
    Example:
      tollkeeper reload --cut --reason "alice left us"
    """
    process = admin_client.needed(config_path)
    target = reloading.RELOAD_PATH + ("?cut=true" if cut else "")
    done = admin_client.ask(process, "POST", target, {"reason": reason}, type=reloading.Reloaded)
    refused = [one for one in done.others if one.refused is not None]
    if as_json:
        common.print_json(done)
        raise SystemExit(1 if refused else 0)
    for one in done.changed:
        click.echo(f"{one.path}: {_text(one.before)} -> {_text(one.after)}")
    if done.more:
        click.echo(f"… and {done.more} more settings.")
    for warning in done.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if done.needs_restart:
        click.echo(f"These need a restart to take effect: {', '.join(done.needs_restart)}.")
    if not done.changed:
        click.echo("Nothing changed.")
    for other in done.others:
        click.echo(f"{other.name}: {'reloaded' if other.refused is None else 'NOT reloaded'}.")
    if cut:
        click.echo(f"Requests that were ended: {done.ended}.")
    if refused:
        raise common.Failed(
            "; ".join(f"{one.name} keeps its config: {one.refused}" for one in refused)
        )


def _text(value: object) -> str:
    return "–" if value is None else msgspec.json.encode(value).decode()
