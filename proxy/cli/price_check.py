"""`tollkeeper price check`: missing prices, sources that disagree, a table that is old."""

from __future__ import annotations

import time
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from proxy.accounting.price_findings import (
    IN_USE_DAYS,
    disagreeing,
    in_use,
    old_table,
    unpriced,
)
from proxy.cli import common, time_range
from proxy.cli.price_import import FORMATS, read_table
from proxy.config.prices import table_of
from proxy.core import dates
from proxy.ledger import connect_reader

DIFFERENCES = 3  # the exit code


@click.command()
@common.config_option
@common.json_option
@click.option(
    "--days",
    type=click.IntRange(1),
    default=IN_USE_DAYS,
    show_default=True,
    help="Models count as in use that were asked for in so many days.",
)
@click.option("--at", metavar="TIME", help="Compare prices as of this time. Default: now.")
@click.option(
    "--against",
    nargs=2,
    metavar="FORMAT FILE",
    multiple=True,
    help=f"Compare with this table too: {' or '.join(FORMATS)}, and its file. May be given again.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Compare all models of the price sources in use, not only those in use.",
)
def check(
    config_path: Path | None,
    as_json: bool,
    days: int,
    at: str | None,
    against: tuple[tuple[str, Path], ...],
    everything: bool,
) -> None:
    """Find missing prices, sources that disagree, and a bundled table older than 60 days.

    Exit code 3 if there is anything to look at.

    Prices are compared for upstreams that say whose prices they bill (`price_source`): the config's
    row, the bundled table's, and those of each --against.

    \b
    Examples:
      tollkeeper price check
      tollkeeper price check --against litellm model_prices_and_context_window.json --all
    """
    settings = common.load_local(config_path).settings
    zone = ZoneInfo(settings.timezone)
    now_ms = time.time_ns() // 1_000_000
    at_ms = now_ms if at is None else dates.unix_ms(time_range.moment(at, "--at", zone))
    assert at_ms is not None, "a moment was given"
    others = []
    for source, file in against:
        if source not in FORMATS:
            raise click.UsageError(f"--against {source}: the formats are {' and '.join(FORMATS)}.")
        others.append(read_table(source, Path(file)))
    table = table_of(settings)
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    used = in_use(reader, now_ms - days * 86_400_000, zone)
    found = [
        *unpriced(settings, table, used, days),
        *disagreeing(settings, table, others, used, at_ms, everything),
        *old_table(settings, table, now_ms),
    ]
    if as_json:
        common.print_json(found)
    else:
        for finding in found:
            click.echo(f"{finding.kind}: {finding.text}")
        counts = {
            kind: sum(finding.kind == kind for finding in found)
            for kind in ("unpriced", "disagree", "old")
        }
        click.echo(
            f"{counts['unpriced']} models in use without a price, {counts['disagree']} rows on "
            f"which sources disagree, {counts['old']} old tables"
        )
    if found:
        raise click.exceptions.Exit(DIFFERENCES)
