"""`tollkeeper ledger adjust`: books an amount by hand, or moves a month's use to others."""

from __future__ import annotations

import getpass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.adjust_order import AdjustOrder, AmountEntry, Named, UseMove
from proxy.accounting.adjusting import AdjustedLine, Adjuster, ByHandDone, OrderedBy
from proxy.cli import common, formats, time_range
from proxy.cli.lazy import later
from proxy.cli.own_ledger import done
from proxy.cli.tables import Column, print_table
from proxy.config.price_tables import TableError
from proxy.config.price_terms import price_book_of
from proxy.config.prices import table_of
from proxy.config.settings import Settings
from proxy.core.managed import TenantKind
from proxy.core.records.by_hand import nano_of
from proxy.ledger import Ledger, connect_reader

if TYPE_CHECKING:
    from proxy.admin import adjusting
else:
    adjusting = later("proxy.admin.adjusting")

_COLUMNS = (
    Column("team"),
    Column("key", drop=2),
    Column("model", drop=1),
    Column("upstream", drop=3),
    Column("labels", drop=4),
    Column("input", right=True, drop=5),
    Column("output", right=True, drop=6),
    Column("cost", right=True),
    Column("charge", right=True),
    Column("currency"),
)


def _labels(
    context: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is no label: write NAME=VALUE.", context, param)
        found[name] = value
    return found


@click.command()
@common.config_option
@click.option("--id", "id_", required=True, metavar="NAME", help="Of this entry, for good.")
@click.option("--month", required=True, metavar="YYYY-MM", help="In which it counts.")
@click.option("--zone", metavar="ZONE", help="Of that month. Default: as configured.")
@click.option("--reason", required=True, metavar="TEXT", help="Why: stands in each row.")
@click.option("--amount", metavar="DECIMAL", help="Such as -12.50: less than zero gives back.")
@click.option("--currency", metavar="CODE", help="Of the amount; another one goes by `fx`.")
@click.option(
    "--of",
    type=click.Choice(["both", "cost", "charge"]),
    default="both",
    show_default=True,
    help="What the amount changes: what the vendor bills, what the team pays, or both.",
)
@click.option("--team", help="Whose amount it is, or whose use moves.")
@click.option("--key", help="Only of this key.")
@click.option("--upstream", metavar="NAME", help="Only of this upstream.")
@click.option(
    "--model", "models", metavar="GLOB", multiple=True, help="Only of these models asked for."
)
@click.option("--to-team", metavar="NAME", help="Move the use to this team.")
@click.option(
    "--to-label",
    "to_labels",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_labels,
    help="Move the use to this value of a label. May be given again.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be booked.")
@click.option("--yes", is_flag=True, help="Book without asking.")
@common.json_option
def adjust(
    config_path: Path | None,
    id_: str,
    month: str,
    zone: str | None,
    reason: str,
    amount: str | None,
    currency: str | None,
    of: str,
    team: str | None,
    key: str | None,
    upstream: str | None,
    models: tuple[str, ...],
    to_team: str | None,
    to_labels: dict[str, str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Book an amount by hand, or move a month's use to another team or label.

    With --amount: a vendor's rebate, a flat fee, a difference that reconciling found. With
    --to-team or --to-label: all that the chosen records of the month say, taken from the old names
    and put on the new ones. Both sides cancel out, so the ledger's sums stay. Requests stay where
    they are.

    Nothing is changed: rows are added, with their reason, and the audit says who ordered them. --id
    names the order: the same again books nothing twice, and another order under that name is
    refused. Budgets count an entry in the windows of its month that are open.

    For a month that is closed, the entry is in the next statement.

    \b
    Examples:
      tollkeeper ledger adjust --id rebate-11 --month 2026-11 --amount -12.50 --currency USD \\
        --of cost --upstream openai --reason "volume rebate" --yes
      tollkeeper ledger adjust --id move-bob --month 2026-11 --team lab --key bob \\
        --to-team research --reason "bob worked for research" --dry-run
    """
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json goes with --dry-run or --yes.")
    time_range.check_month(month, "--month")
    if zone is not None:
        time_range.zone(zone)
    order = AdjustOrder(id=id_, month=month, reason=reason, zone=zone, dry_run=True)
    moves = to_team is not None or bool(to_labels)
    if (amount is None) != moves:
        raise click.UsageError("name an --amount, or move with --to-team or --to-label.")
    if amount is not None:
        if currency is None:
            raise click.UsageError("name the --currency of the amount.")
        try:
            nano_of(amount)
        except ValueError as error:
            raise click.BadParameter(f"{error}.", param_hint="--amount") from error
        if len(models) > 1:
            raise click.UsageError("an amount is of one --model.")
        whose = {"team": team, "key": key, "upstream": upstream}
        side: Any = of  # click has checked it
        model = models[0] if models else None
        entry = AmountEntry(amount=amount, currency=currency.upper(), of=side, model=model, **whose)
        order = msgspec.structs.replace(order, amount=entry)
    else:
        whose = {"team": team, "key": key, "upstream": upstream}
        move = UseMove(models=models, to_team=to_team, to_labels=to_labels, **whose)
        order = msgspec.structs.replace(order, move=move)
    _carry_out(config_path, order, dry_run=dry_run, yes=yes, as_json=as_json)


def _carry_out(
    config_path: Path | None, order: AdjustOrder, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    if dry_run or not yes:
        would = _ordered(config_path, order)
        _show(would, as_json)
        if dry_run or not would.lines:
            return
        click.confirm(f"Book {_rows(would)}?", abort=True, err=True)
    _show(_ordered(config_path, msgspec.structs.replace(order, dry_run=False)), as_json)


def _ordered(config_path: Path | None, order: AdjustOrder) -> ByHandDone:
    async def directly(ledger: Ledger, settings: Settings) -> ByHandDone:
        return await _here(ledger, settings, order)

    return done(config_path, adjusting.ADJUST_PATH, ByHandDone, directly, order)


async def _here(ledger: Ledger, settings: Settings, order: AdjustOrder) -> ByHandDone:
    """Carry the order out on the ledger itself: no process runs, so no budget has to hear of it."""
    try:
        terms = price_book_of(settings, table_of(settings)).content
    except (OSError, TableError) as error:
        raise common.Failed(f"prices: {error}") from error
    known: dict[Named, set[str]] = {
        "team": set(settings.teams),
        "key": set(settings.keys),
        "upstream": set(settings.upstreams),
    }
    for row in await ledger.tenants():
        known["team" if row.kind is TenantKind.TEAM else "key"].add(row.name)
    adjuster = Adjuster(
        connect_reader(settings.ledger.url, settings.data_dir),
        ledger,
        ZoneInfo(settings.timezone),
        terms,
        known,
    )
    by = OrderedBy(getpass.getuser(), "command line", time_ns() // 1_000_000)
    return await adjuster.adjust(order, by)


def _show(found: ByHandDone, as_json: bool) -> None:
    if as_json:
        common.print_json(found)
        return
    if found.lines:
        print_table(_COLUMNS, list(map(_row, found.lines)))
    rows = _rows(found)
    said = f"{rows}: nothing is booked yet." if found.dry_run else f"{rows} booked."
    if found.requests:
        count = formats.count(found.requests)
        said += f" The requests ({count}) stay where they are, and their use moves."
    click.echo(said)
    if found.before:
        click.echo(
            f"This order was given before; {formats.count(found.known)} of its rows are booked.",
            err=True,
        )
    if found.statement is not None:
        click.echo(
            f"The month is closed as statement {found.statement}: this is in the next statement.",
            err=True,
        )


def _rows(found: ByHandDone) -> str:
    return f"{formats.count(len(found.lines))} {'row' if len(found.lines) == 1 else 'rows'}"


def _row(line: AdjustedLine) -> tuple[str, ...]:
    money = (
        formats.UNKNOWN if nano is None else formats.money(nano)
        for nano in (line.cost_nano, line.charge_nano)
    )
    counts = (
        formats.UNKNOWN if count is None else formats.count(count)
        for count in (line.input_tokens, line.output_tokens)
    )
    return (
        formats.text(line.team),
        line.key,
        formats.text(line.model),
        line.upstream,
        ", ".join(f"{name}={value}" for name, value in line.labels.items()),
        *counts,
        *money,
        formats.text(line.currency),
    )
