"""`tollkeeper check`: validates the config and shows what is in effect.

With --connect it asks the upstreams instead, and compares their answers with the config.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from proxy.cli import common
from proxy.cli.estimated import unstated
from proxy.cli.lazy import later
from proxy.cli.strict_limits import strict_limits
from proxy.listeners import descriptors

if TYPE_CHECKING:
    from proxy import ledger
    from proxy.config import loader
    from proxy.dataplane import probe, snapshot
else:
    ledger = later("proxy.ledger")
    loader = later("proxy.config.loader")
    probe = later("proxy.dataplane.probe")
    snapshot = later("proxy.dataplane.snapshot")


@click.command()
@common.config_option
@common.json_option
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of config.yaml instead, for editors."
)
@click.option(
    "--quiet", is_flag=True, help="Print warnings and errors only; nothing if there are none."
)
@click.option(
    "--connect",
    is_flag=True,
    help="Ask each upstream what it can do: its models, and a tiny stream or two of each of its "
    "`apis`, which cost a few tokens.",
)
@click.option(
    "--upstream",
    "names",
    multiple=True,
    metavar="NAME",
    help="With --connect: only this one. May be repeated.",
)
def check(
    config_path: Path | None,
    as_json: bool,
    schema: bool,
    quiet: bool,
    connect: bool,
    names: tuple[str, ...],
) -> None:
    """Validate the config; print what is in effect, defaults included and secrets masked.

    All problems are named at once, and the exit code is 1. Warnings go to stderr and do not fail.

    With --connect, say instead what each upstream answers and which settings fit it; the exit code
    is 1 if one of them cannot be used. A ledger in PostgreSQL is asked who could change the book.

    \b
    Examples:
      tollkeeper check -c config.yaml
      tollkeeper check -c config.yaml --quiet
      tollkeeper check -c config.yaml --connect
      tollkeeper check --schema > config.schema.json
    """
    if schema:
        common.print_json(loader.json_schema())
        return
    if names and not connect:
        raise click.UsageError("--upstream goes with --connect.")
    if quiet and (as_json or schema or connect):
        raise click.UsageError("--quiet prints no result, so it goes alone.")
    loaded = common.load_local(config_path)
    if connect:
        _connect(loaded, names, as_json=as_json)
        return
    if not quiet:
        _print_effective(loaded, as_json=as_json)
    for warning in loaded.warnings:  # last, where they are seen on a terminal
        click.echo(f"Warning: {warning}", err=True)
    if not quiet:
        _print_notes(loaded)


def _print_effective(loaded: loader.Loaded, *, as_json: bool) -> None:
    effective = loader.masked(loaded.settings)
    if as_json:
        common.print_json(effective)
    else:
        click.echo(f"# {loaded.path}: valid. In effect:")
        click.echo(
            yaml.safe_dump(effective, sort_keys=False, allow_unicode=True, width=160), nl=False
        )


def _print_notes(loaded: loader.Loaded) -> None:
    notes = strict_limits(loaded.settings)
    shortage = descriptors.shortage(
        descriptors.raise_limit(), loaded.settings.inflight_max, loaded.settings.connections_max
    )
    notes += [] if shortage is None else [shortage]
    notes += unstated(loaded.settings, time.time_ns() // 1_000_000)
    for line in notes:
        click.echo(f"Note: {line}", err=True)


def _connect(loaded: loader.Loaded, names: tuple[str, ...], *, as_json: bool) -> None:
    """Probe the upstreams and print the findings. Exit code 1 if one of them cannot be used."""
    unknown = [name for name in names if name not in loaded.settings.upstreams]
    if unknown:
        raise common.Failed(
            f"There is no upstream {', '.join(unknown)} in {loaded.path}; it has "
            f"{', '.join(loaded.settings.upstreams)}."
        )
    click.echo(
        "Asking each upstream for its models and for a tiny stream or two of each of its APIs. "
        "That costs a few tokens, which no ledger will show.",
        err=True,
    )
    found = asyncio.run(probe.probe(snapshot.Snapshot(loaded.settings), names))
    if as_json:
        common.print_json(found)
    else:
        for one in found:
            click.echo(f"{one.upstream}: {'can be used' if one.usable else 'CANNOT BE USED'}")
            for finding in one.findings:
                click.echo(f"  {finding}")
        click.echo(f"Tokens used, as far as stated: {sum(one.tokens for one in found)}.")
    for line in _of_the_ledger(loaded):
        click.echo(f"Note: {line}", err=True)
    if not all(one.usable for one in found):
        raise click.exceptions.Exit(1)


def _of_the_ledger(loaded: loader.Loaded) -> list[str]:
    """What to know of a ledger that is a server's."""
    settings = loaded.settings
    try:
        found = ledger.weakness(settings.ledger.url, settings.data_dir)
    except (ledger.LedgerError, ledger.LedgerUnavailable) as error:
        return [f"the ledger cannot be asked: {error}"]
    return [] if found is None else [found]
