"""`tollkeeper init`: the files to set up with, written into a directory."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from proxy.cli import common, shipped


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Write over files that are there and differ.")
def init(directory: Path, force: bool) -> None:
    """Write the files to set up with into DIR, and say what to do next.

    They are config.yaml, its JSON Schema, the dashboards and the Prometheus rules. If one of them
    is there and differs, nothing is written without --force.

    \b
    Example:
      tollkeeper init /etc/tollkeeper
    """
    try:
        files = shipped.files()
    except OSError as error:
        raise common.Failed(
            f"This installation lacks the files to write ({error}). Install tollkeeper from its "
            "wheel, or from a whole checkout."
        ) from error
    try:
        different = [
            name
            for name, content in files.items()
            if (path := directory / name).exists()
            and (not path.is_file() or path.read_bytes() != content)
        ]
        if different and not force:
            raise common.Failed(
                f"In {directory} there are already: {', '.join(different)}. Nothing was written. "
                "Choose another directory, or write over them with --force."
            )
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise common.Failed(
            f"{error.filename or directory} cannot be written: {error.strerror or error}. Choose "
            "a directory that this user may write."
        ) from error
    click.echo(_next(directory, len(files)))


def _next(directory: Path, count: int) -> str:
    command, config = common.own_command(), shlex.quote(str(directory / "config.yaml"))
    return f"""{count} files are in {directory}: config.yaml with every setting and its default,
config.schema.json for editors, dashboards/.

Next:
  1. Correct the upstreams, routes, teams and keys in the config file,
     and put the vendors' keys into the environment:
       {config}
  2. Make a key for each caller, and put its digest into `keys`:
       {command} key hash --new
  3. Check the file, and ask each vendor:
       {command} check -c {config} --connect
  4. Start the proxy:
       {command} serve -c {config}

Prometheus: dashboards/prometheus/prometheus.yml scrapes it,
tollkeeper.rules.yml has the rules and alerts.
Grafana: import the JSON files of dashboards/grafana/,
or copy its provisioning/ below /etc/grafana/."""
