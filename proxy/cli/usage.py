"""`tollkeeper usage`: sums over the ledger, by any names that records have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from proxy.accounting.export.usage import TOTAL, as_csv, totals, with_totals
from proxy.cli import common, formats, time_range, usage_original
from proxy.cli.tables import Column, print_table
from proxy.cli.unknown import unknown_names
from proxy.core import dates
from proxy.ledger.reading import GROUPED_BY, UsageRow, groups

# The columns of a table behind the groups, which always stay; csv and JSON have more.
_TABLE = {
    "requests": Column("requests", right=True),
    "input_tokens": Column("input", right=True, drop=1),
    "cached_tokens": Column("cached", right=True, drop=4),
    "output_tokens": Column("output", right=True, drop=2),
    "reasoning_tokens": Column("reasoning", right=True, drop=5),
    "searches": Column("searches", right=True, drop=6),
    "cost_nano": Column("cost", right=True, drop=3),
    "charge_nano": Column("charge", right=True),
    "currency": Column("currency"),
    "reported_requests": Column("reported", right=True, drop=7),
    "unpriced_requests": Column("unpriced", right=True),
    "inconsistent_requests": Column("in doubt", right=True, drop=8),
}
_WHERE_ANY = ("unpriced_requests", "inconsistent_requests")  # shown only if not all are 0


def _groups(
    context: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """The names of one or more comma-separated lists, each known and once."""
    value = ",".join(values)
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not groups(name):
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(GROUPED_BY)}, label:NAME and tag:NAME.",
                context,
                param,
            )
    if len(set(names)) != len(names):
        raise click.BadParameter(f"{value!r} names a group twice.", context, param)
    return names


@click.command()
@common.config_option
@common.data_dir_option
@click.option(
    "--by",
    callback=_groups,
    metavar="GROUPS",
    multiple=True,
    default=["team,key,model"],
    show_default="team,key,model",
    help=f"Any of {' '.join(GROUPED_BY)} label:NAME tag:NAME; '' for one total.",
)
@time_range.options
@click.option("--team", help="Only what this team used.")
@click.option("--key", help="Only what this key used.")
@click.option("--zone", metavar="ZONE", help="Of months, days and hours, and of the range's ends.")
@click.option(
    "--original",
    is_flag=True,
    help="Sum what the vendors bill, in the currencies of their prices.",
)
@click.option(
    "--through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="As the book stood at that seq: the same figures whenever it is asked.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@common.json_option
def usage(
    config_path: Path | None,
    data_dir: Path | None,
    by: tuple[str, ...],
    from_: str | None,
    to: str | None,
    month: str | None,
    team: str | None,
    key: str | None,
    zone: str | None,
    original: bool,
    through: int | None,
    form: str,
    as_json: bool,
) -> None:
    """Show what was used: requests, tokens and money, by group.

    A dash, an empty field or null is "not known". csv and JSON end with a total for each currency,
    whose `row` is `total`. cost and charge are in units of the currency; cost_nano and charge_nano
    are the same in billionths.

    Sums by team, key, model, upstream and time are kept. Those by label, tag, end_user, source or
    outcome, and those with --through, are read from the records: about nine seconds for a million.

    --original shows what the vendors should bill, in the currency of each price row, beside the
    same in the ledger's currency. It reads the records, and sums by team, key, model, upstream, day
    or month.

    \b
    Examples:
      tollkeeper usage --month 2026-11
      tollkeeper usage --month 2026-11 --by upstream --original --zone Asia/Shanghai
      tollkeeper usage --by team,label:cost_center --from 2026-11-01 --to 2026-12-01 --format csv
      tollkeeper usage --by tag:feature,month --team research
    """
    book = common.open_book(config_path, data_dir)
    here = book.zone if zone is None else time_range.zone(zone)
    start, end = time_range.parse(from_, to, month, here)
    bounds = dates.range_ms(start, end)
    rows: list[UsageRow] = []
    if not original:
        rows = common.ask(
            lambda: book.reader.usage(by, *bounds, here, team=team, through=through, key=key)
        )
    form = "json" if as_json else form
    narrowed = "" if team is None else f" of the team {team}"
    narrowed += "" if key is None else f" of the key {key}"
    narrowed += "" if through is None else f" up to seq {through}"
    click.echo(f"Usage{narrowed} {dates.described(start, end, here)}", err=form != "table")
    if original:
        usage_original.show(book, by, bounds, here, usage_original.Of(team, key, through), form)
    elif form == "json":
        common.print_json(with_totals(rows, by))
    elif form == "csv":
        click.echo(as_csv(rows, by), nl=False)
    elif rows:
        _print_table(rows, by)
    else:
        click.echo("No records in this range.")
    if not original:
        _tell_unknown(book, here, {"team": team, "key": key}, by, rows)


def _tell_unknown(
    book: common.OpenLedger,
    zone: ZoneInfo,
    asked: Mapping[str, str | None],
    by: Sequence[str],
    rows: Sequence[UsageRow],
) -> None:
    """Say of a team, key, label or tag that no record has: mistyped, it looks like unused."""
    for unknown in unknown_names(book.reader, zone, asked) if not rows else ():
        click.echo(f"Note: {unknown}", err=True)
    for group in by:
        kind, colon, name = group.partition(":")
        if colon and rows and all(row[group] is None for row in rows):
            click.echo(f"Note: none of these records has a {kind} {name!r}.", err=True)


def _print_table(rows: Sequence[UsageRow], by: Sequence[str]) -> None:
    """Print the groups and sums, without the columns that are unknown in every row."""
    none = {name: (None, 0) if name in _WHERE_ANY else (None,) for name in _TABLE}
    names = [name for name in _TABLE if any(row[name] not in none[name] for row in rows)]
    columns = [*map(Column, by), *(_TABLE[name] for name in names)]
    lines = [
        [*(formats.text(row[group]) for group in by), *(_cell(name, row) for name in names)]
        for row in rows
    ]
    sums = totals(rows, by) if by and len(rows) > 1 else []
    blank = ("",) * (len(by) - 1)
    print_table(
        columns, lines, [[TOTAL, *blank, *(_cell(name, row) for name in names)] for row in sums]
    )


def _cell(name: str, row: UsageRow) -> str:
    value = row[name]
    if name.endswith("_nano") and isinstance(value, int):
        return formats.money(value)
    return formats.count(value) if isinstance(value, int) else formats.text(value)
