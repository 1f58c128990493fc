"""`tollkeeper price rerate` prices a period anew and books the differences as adjustments."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.rerating import REASON_CHARS_MAX, Change, Rerate, Rerated, sort_key
from proxy.accounting.rerating import rerate as rerate_stretch
from proxy.cli import admin_client, common, formats, time_range
from proxy.cli.lazy import later
from proxy.cli.own_ledger import own_ledger
from proxy.cli.tables import Column, print_table
from proxy.config.price_tables import TableError
from proxy.config.price_terms import price_book_of
from proxy.config.prices import table_of
from proxy.config.settings import Settings
from proxy.core.pricing.book import PriceBook
from proxy.core.records.corrections import total

if TYPE_CHECKING:
    from proxy.admin import prices as admin_prices
else:
    admin_prices = later("proxy.admin.prices")

_Once = Callable[[Rerate], Rerated]

# Why records keep a price that the present config alone would change, and what to do
# (see `proxy.core.pricing.booked.Kept`).
_KEPT = {
    "removed_row": "their price row is not in the config any more. To change them, write one",
    "earlier_table": (
        "they were booked by an earlier bundled table. To change them, write a row in `prices`"
    ),
    "earlier_terms": (
        "the config has no discount, markup or exchange rate with a date for them. To change "
        "them, add a `from`"
    ),
}
_COLUMNS = (
    Column("team"),
    Column("model"),
    Column("adjustments", right=True, drop=2),
    Column("cost", right=True, drop=1),
    Column("charge", right=True),
    Column("currency"),
)


@click.command()
@common.config_option
@common.json_option
@time_range.options
@click.option(
    "--team",
    "teams",
    metavar="NAME",
    multiple=True,
    help="Only records of this team; '' for those of none. May be given again.",
)
@click.option(
    "--model",
    "models",
    metavar="GLOB",
    multiple=True,
    help="Only records of the models asked for that match. May be given again.",
)
@click.option(
    "--upstream",
    "upstreams",
    metavar="NAME",
    multiple=True,
    help="Only records of this upstream. May be given again.",
)
@click.option(
    "--reason", metavar="TEXT", help="Why: stands in each adjustment, `record show` and exports."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be booked.")
@click.option("--yes", is_flag=True, help="Book without asking.")
def rerate(
    config_path: Path | None,
    as_json: bool,
    from_: str | None,
    to: str | None,
    month: str | None,
    teams: tuple[str, ...],
    models: tuple[str, ...],
    upstreams: tuple[str, ...],
    reason: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Price the records of a period anew and book the differences as adjustments.

    Records themselves never change, and the amounts shown are differences.

    A record is priced by what held at its time: the price rows, and those discounts, markups and
    exchange rates of the config that have a `from`. One without a date says how things are now,
    so the record keeps the one it was booked with. A price row that was removed, a team or a vendor
    that left and a newer bundled table change nothing either, and a record without a price now
    keeps its amounts. The command says how many records that concerns.

    The running process does the work, with the prices in effect (kill -HUP makes it read the file
    again). Without one the command works on the ledger itself. Traffic goes on.

    Doing the same again books nothing more. So repeat a run that was broken off, or one at a time
    when requests still ran under earlier prices.

    \b
    Examples:
      tollkeeper price rerate --month 2026-11 --dry-run
      tollkeeper price rerate --from 2026-11-01 --to 2026-11-15 --yes
      tollkeeper price rerate --month 2026-11 --team research --model 'gpt-*' \\
        --reason "price list of 3 November" --yes
    """
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json goes with --dry-run or --yes.")
    if reason is not None and not (0 < len(reason) <= REASON_CHARS_MAX and reason.isprintable()):
        raise click.UsageError(f"--reason is one line of at most {REASON_CHARS_MAX} characters.")
    start, end = _period(from_, to, month)
    ask = Rerate(
        dry_run=True,
        from_=start,
        to=end,
        teams=teams,
        models=models,
        upstreams=upstreams,
        reason=reason,
    )
    with _prices(config_path) as (once, version):
        ask = msgspec.structs.replace(ask, price_version=version)
        if dry_run or not yes:
            would = _all(once, ask, "Pricing")
            _show(would, as_json)
            if dry_run or not would.changes:
                return
            click.confirm(
                f"Book {formats.count(would.verdicts['adjusted'])} adjustments?",
                abort=True,
                err=True,
            )
        _show(_all(once, msgspec.structs.replace(ask, dry_run=False), "Booking"), as_json)


def _period(from_: str | None, to: str | None, month: str | None) -> tuple[str | None, str | None]:
    """The period as text, to be read in the ledger's zone. Usage errors are found here."""
    start, end = time_range.parse(from_, to, month, ZoneInfo("UTC"))
    if start is None:
        raise click.UsageError("name the period: --month 2026-11, or --from and --to.")
    if month is not None and end is not None:
        return start.date().isoformat(), end.date().isoformat()
    return from_, to


def _all(once: _Once, ask: Rerate, label: str) -> Rerated:
    """Do all stretches of the period, and sum up their results."""
    found = [once(ask)]
    first = found[0]
    with common.progress(label, first.through - first.after) as advance:
        done = first.after
        while (reached := found[-1].next) is not None:
            advance(reached - done)
            done = reached
            found.append(
                once(
                    msgspec.structs.replace(
                        ask, after=reached, through=first.through, price_version=first.price_version
                    )
                )
            )
        advance(first.through - done)
    verdicts = {name: sum(one.verdicts[name] for one in found) for name in first.verdicts}
    kept = {name: sum(one.kept[name] for one in found) for name in first.kept}
    groups: dict[tuple[str | None, str | None, str | None], list[Change]] = {}
    for change in (change for one in found for change in one.changes):
        groups.setdefault((change.team, change.model, change.currency), []).append(change)
    changes = [
        Change(
            *group,
            sum(one.adjustments for one in parts),
            total(one.cost_nano for one in parts),
            total(one.charge_nano for one in parts),
        )
        for group, parts in groups.items()
    ]
    return msgspec.structs.replace(
        first, next=None, verdicts=verdicts, kept=kept, changes=sorted(changes, key=sort_key)
    )


@contextmanager
def _prices(config_path: Path | None) -> Iterator[tuple[_Once, str | None]]:
    """The function that does a stretch, and the version of the prices that are meant.

    They are those of the config file. For a process elsewhere the version is None.
    """
    if os.environ.get(admin_client.URL):
        elsewhere = admin_client.running(Path(), os.environ)
        assert elsewhere is not None, "a URL names one"
        yield _asking(elsewhere), None
        return
    settings = common.load(config_path).settings
    try:
        prices = price_book_of(settings, table_of(settings))
    except (OSError, TableError) as error:
        raise common.Failed(f"prices: {error}") from error
    process = admin_client.running(settings.data_dir, os.environ)
    if process is not None:
        yield _asking(process), prices.version
    else:
        with _directly(settings, prices) as once:
            yield once, prices.version


def _asking(process: admin_client.AdminClient) -> _Once:
    return lambda ask: admin_client.ask(
        process, "POST", admin_prices.RERATE_PATH, ask, type=Rerated
    )


@contextmanager
def _directly(settings: Settings, prices: PriceBook) -> Iterator[_Once]:
    """The function that does a stretch where no process runs."""
    with asyncio.Runner() as runner:
        close = AsyncExitStack()
        with common.told():
            ledger, reader = runner.run(close.enter_async_context(own_ledger(settings)))

        async def once(ask: Rerate) -> Rerated:
            return await rerate_stretch(ask, reader, ledger, prices, ZoneInfo(settings.timezone))

        def run(ask: Rerate) -> Rerated:
            with common.told():
                return runner.run(once(ask))

        try:
            yield run
        finally:
            runner.run(close.aclose())


def _show(found: Rerated, as_json: bool) -> None:
    if as_json:
        common.print_json(
            {
                name: getattr(found, name)
                for name in ("dry_run", "price_version", "period", "verdicts", "kept", "changes")
            }
        )
        return
    click.echo(
        f"Records {found.period}, by the prices {found.price_version}"
        + (": nothing is booked yet" if found.dry_run else "")
    )
    if found.changes:
        print_table(_COLUMNS, [_row(change) for change in found.changes])
    verdicts = found.verdicts
    click.echo(
        f"adjusted: {formats.count(verdicts['adjusted'])}, unchanged: "
        f"{formats.count(verdicts['unchanged'])}"
    )
    for name, reason in (
        ("unpriced", "no price says what they cost"),
        ("other_currency", "they are booked in another currency"),
    ):
        if verdicts[name]:
            click.echo(
                f"Warning: left as they are: {formats.count(verdicts[name])}, because {reason}",
                err=True,
            )
    for name, reason in _KEPT.items():
        if found.kept[name]:
            click.echo(
                f"Note: {formats.count(found.kept[name])} keep what held at their time: {reason}",
                err=True,
            )
    if not any(verdicts.values()):
        click.echo(
            "There is no record in this period, or none with the team, model or upstream named.",
            err=True,
        )


def _row(change: Change) -> tuple[str, ...]:
    money = (
        formats.UNKNOWN if nano is None else formats.money(nano)
        for nano in (change.cost_nano, change.charge_nano)
    )
    return (
        formats.text(change.team),
        formats.text(change.model),
        formats.count(change.adjustments),
        *money,
        formats.text(change.currency),
    )
