"""`tollkeeper usage`: sums over the ledger, by any of the names a record has."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from proxy.cli import amounts, common, ranges
from proxy.export.records import harmless
from proxy.ledger.queries import UsageRow

GROUPS = ("team", "key", "model", "upstream", "end_user", "day", "hour", "source", "outcome")
LABEL = "label:"
SUMS = (
    "requests", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_nano", "charge_nano", "currency",
    "reported_requests", "unpriced_requests",
)
_TABLE = {                              # the heads of what a table shows; the rest is in csv and json
    "requests": "requests",
    "input_tokens": "input",
    "cached_tokens": "cached",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "cost_nano": "cost",
    "charge_nano": "charge",
    "currency": "currency",
    "reported_requests": "reported",
}


def _groups(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The names of one or more comma-separated lists, each known and once."""
    value = ",".join(values)
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if name not in GROUPS and not (name.startswith(LABEL) and len(name) > len(LABEL)):
            raise click.BadParameter(f"{name!r} is none of {', '.join(GROUPS)} and label:NAME.", context, param)
    if len(set(names)) != len(names):
        raise click.BadParameter(f"{value!r} names a group twice.", context, param)
    return names


@click.command()
@common.config_option
@common.data_dir_option
@click.option("--by", callback=_groups, metavar="GROUPS", multiple=True, default=["team,key,model"], show_default="team,key,model", help=f"Any of {' '.join(GROUPS)} label:NAME; '' for one total.")
@click.option("--from", "from_", metavar="TIME", help="Requests started at or after: 2026-11-01, or 2026-11-01T12:00. In the configured zone.")
@click.option("--to", metavar="TIME", help="Requests started before.")
@click.option("--month", metavar="YYYY-MM", help="One calendar month, instead of --from and --to.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@common.json_option
def usage(
    config_path: Path | None, data_dir: Path | None, by: tuple[str, ...], from_: str | None, to: str | None, month: str | None, form: str, as_json: bool
) -> None:
    """What was used: requests, tokens and money, by group. A dash, an empty field or null is "not known".

    \b
    Examples:
      tollkeeper usage --month 2026-11
      tollkeeper usage --by team,label:cost_center --from 2026-11-01 --to 2026-12-01 --format csv
    """
    book = common.open_book(config_path, data_dir)
    start, end = ranges.parse(from_, to, month, book.zone)
    rows = common.ask(lambda: book.queries.usage(by, ranges.to_ms(start), ranges.to_ms(end), book.zone))
    form = "json" if as_json else form
    click.echo(f"Usage {ranges.describe(start, end, book.zone)}", err=form != "table")
    if form == "json":
        common.print_json(rows)
    elif form == "csv":
        click.echo(as_csv(rows, by), nl=False)
    elif rows:
        _print_table(rows, by)
    else:
        click.echo("No records in this range.")


def as_csv(rows: Sequence[UsageRow], by: Sequence[str]) -> str:
    """One line a row under a head; an unknown value is an empty field, and a name that a spreadsheet would run as a formula gets a `'` in front, as in exports."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*by, *SUMS], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows)
    return out.getvalue()


def _print_table(rows: Sequence[UsageRow], by: Sequence[str]) -> None:
    """The groups and sums. A column that is unknown in every row is left out: a terminal has no room to say nothing."""
    names = [name for name in _TABLE if any(row[name] is not None for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for group in by:
        table.add_column(group, overflow="fold", min_width=8)
    for name in names:
        table.add_column(_TABLE[name], justify="left" if name == "currency" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(amounts.text(row[group])) for group in by), *(_cell(name, row) for name in names))
    common.print_table(table)


def _cell(name: str, row: UsageRow) -> str:
    value = row[name]
    if name.endswith("_nano") and isinstance(value, int):
        return amounts.money(value)
    return amounts.count(value) if isinstance(value, int) else amounts.text(value)
