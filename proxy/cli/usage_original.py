"""`tollkeeper usage --original`: what the vendors bill, in the currencies of their prices."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.export.records import harmless
from proxy.accounting.original import ORIGINAL_BY, OriginalRow, original_costs
from proxy.cli import common, formats
from proxy.cli.tables import Column, print_table
from proxy.core.money import decimal


class Of(msgspec.Struct, frozen=True):
    """Whose costs, and as the book stood at which seq; None: all, and now."""

    team: str | None
    key: str | None
    through: int | None


def show(
    book: common.OpenLedger,
    by: Sequence[str],
    bounds: tuple[int | None, int | None],
    zone: ZoneInfo,
    of: Of,
    form: str,
) -> None:
    """Print the costs by group and currency. Raises a usage error for other groups."""
    if wrong := [name for name in by if name not in ORIGINAL_BY]:
        raise click.UsageError(
            f"--original sums by {', '.join(ORIGINAL_BY)}, and not by {wrong[0]}."
        )
    rows = common.ask(
        lambda: original_costs(
            book.reader, by, bounds, zone, team=of.team, key=of.key, through=of.through
        )
    )
    if form == "json":
        common.print_json([row.flat(by) for row in rows])
    elif form == "csv":
        click.echo(_csv(rows, by), nl=False)
    elif rows:
        columns = [
            *map(Column, by),
            Column("billed", right=True),
            Column("in"),
            Column("cost", right=True),
            Column("currency"),
        ]
        print_table(columns, [_cells(row) for row in rows])
    else:
        click.echo("No costs in this range.")


def _cells(row: OriginalRow) -> list[str]:
    original, cost = (
        formats.UNKNOWN if nano is None else formats.money(nano)
        for nano in (row.cost_original_nano, row.cost_nano)
    )
    names = [formats.text(name) for name in row.names]
    return [*names, original, formats.text(row.price_currency), cost, formats.text(row.currency)]


def _csv(rows: Sequence[OriginalRow], by: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*by, "cost_original", "price_currency", "cost", "currency"])
    for row in rows:
        amounts = (
            None if nano is None else decimal(nano)
            for nano in (row.cost_original_nano, row.cost_nano)
        )
        original, cost = amounts
        names = [None if name is None else harmless(name) for name in row.names]
        writer.writerow([*names, original, row.price_currency, cost, row.currency])
    return out.getvalue()
