"""`tollkeeper statement`: a month for those who pay, from the ledger alone."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.accounting.export.usage import as_csv
from proxy.accounting.statements.document import as_html, as_markdown
from proxy.accounting.statements.statement import BY, read_statement
from proxy.cli import common, time_range


@click.group()
def statement() -> None:
    """A month for those who pay."""


@statement.command()
@common.config_option
@common.data_dir_option
@click.argument("month", metavar="YYYY-MM")
@click.option("--team", help="Only what this team used.")
@click.option(
    "--through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="As the book stood at that seq: the same amounts whenever it is asked.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "html", "json"]),
    default="md",
    show_default=True,
)
@common.json_option
def show(
    config_path: Path | None,
    data_dir: Path | None,
    month: str,
    team: str | None,
    through: int | None,
    form: str,
    as_json: bool,
) -> None:
    """Show what each team owes for a month, and what the amounts stand on.

    Totals by key and model, labels, the share of requests whose tokens the vendor stated, price
    versions, corrections, credits and refusals. csv has the totals alone. The head names the seq
    and the hash up to which the ledger was read: --through with that seq gives the same amounts
    again.

    It reads each record of the month: about nine seconds for a million.

    \b
    Examples:
      tollkeeper statement show 2026-11
      tollkeeper statement show 2026-11 --team research --format html > november.html
    """
    book = common.open_book(config_path, data_dir)
    try:
        start, end = time_range.calendar_month(month, book.zone)
    except click.BadParameter as error:
        raise click.BadParameter(error.message, param_hint="YYYY-MM") from error
    found = common.ask(
        lambda: read_statement(book.reader, start, end, book.zone, team=team, through=through)
    )
    if as_json or form == "json":
        common.print_json(found)
    elif form == "csv":
        # Its totals are made of the groups.
        groups = [row for row in found.rows if row["row"] != "total"]
        click.echo(f"As the ledger stood at seq {found.through}", err=True)
        click.echo(as_csv(groups, BY), nl=False)
    else:
        click.echo(as_html(found) if form == "html" else as_markdown(found), nl=False)
    if not found.rows:
        click.echo(f"No records in {month}{'' if team is None else f' of team {team}'}.", err=True)
