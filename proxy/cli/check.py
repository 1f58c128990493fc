"""`tollkeeper check`: is the config right, and what does it come to?"""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from proxy import config
from proxy.cli import common


@click.command()
@common.config_option
@common.json_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of config.yaml instead, for editors.")
def check(config_path: Path | None, as_json: bool, schema: bool) -> None:
    """Validate the config; print what is in effect, defaults included and secrets masked.

    All problems are named at once, and the exit code is 1. Warnings go to stderr and do not fail.

    \b
    Examples:
      tollkeeper check -c config.yaml
      tollkeeper check --schema > config.schema.json
    """
    if schema:
        common.print_json(config.json_schema())
        return
    loaded = common.load(config_path)
    effective = config.masked(loaded.settings)
    if as_json:
        common.print_json(effective)
    else:
        click.echo(f"# {loaded.path}: valid. In effect:")
        click.echo(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True, width=160), nl=False)
    for warning in loaded.warnings:  # behind the rest: on a terminal these are the lines to read
        click.echo(f"Warning: {warning}", err=True)
