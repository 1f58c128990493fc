"""`tollkeeper statement list`: the closed months."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli import common, formats
from proxy.cli.tables import Column, print_table

_COLUMNS = (
    Column("number", right=True),
    Column("month"),
    Column("team"),
    Column("zone", drop=3),
    Column("through seq", right=True, drop=4),
    Column("closed", drop=2),
    Column("by", drop=1),
    Column("SHA-256", drop=5),
)


@click.command("list")
@common.config_option
@common.data_dir_option
@common.json_option
def list_(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the closed months, in the order of closing.

    A statement without a team has all that no statement of a team has.

    \b
    Example:
      tollkeeper statement list
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(book.reader.closings)
    if as_json:
        common.print_json(found)
        return
    rows = [
        (
            str(one.number),
            one.month,
            formats.text(one.team),
            one.zone,
            str(one.through),
            formats.moment(one.closed_at_ms),
            one.closed_by,
            one.digest,
        )
        for one in found
    ]
    if rows:
        print_table(_COLUMNS, rows)
    else:
        click.echo("No month is closed: `tollkeeper statement close` does it.")
