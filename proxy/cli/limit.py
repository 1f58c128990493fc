"""`tollkeeper limit`: the states of limits, credits on them, and refused requests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import click
from msgspec.structs import asdict

from proxy.cli import admin_client, common, formats, time_range
from proxy.cli.lazy import later
from proxy.cli.own_ledger import own_ledger
from proxy.cli.tables import Column, print_table
from proxy.config.limits import rules_of
from proxy.config.settings import Settings
from proxy.core import dates
from proxy.core.limits.credit import Credit
from proxy.core.limits.dimensions import MISSING, OTHERS
from proxy.core.limits.language import show_money
from proxy.ledger import Ledger
from proxy.ledger.reading import RefusalSum
from proxy.quota import Quota, QuotaError, QuotaUnavailable, SharedOptions
from proxy.quota import connect as connect_quota
from proxy.quota.credits import CreditOrder, LimitChoice, credit, standings
from proxy.quota.rebuild import restore
from proxy.quota.status import LimitStatus, standing

if TYPE_CHECKING:
    from proxy.admin import books, limits
    from proxy.tenants import directory
else:
    books, limits, directory = map(
        later, ("proxy.admin.books", "proxy.admin.limits", "proxy.tenants.directory")
    )

_T = TypeVar("_T")

_COLUMNS = (
    Column("limit"),
    Column("rule", drop=2),
    Column("enforce", drop=5),
    Column("used", right=True),
    Column("held", right=True, drop=4),
    Column("remaining", right=True),
    Column("taken", right=True, drop=1),
    Column("resets", drop=3),
)

_CREDITS = (
    Column("given", drop=1),
    Column("limit"),
    Column("amount", right=True),
    Column("until"),
    Column("by", drop=2),
    Column("reason", drop=3),
)


_REFUSALS = (
    Column("key"),
    Column("team", drop=3),
    Column("code"),
    Column("limit", drop=2),
    Column("refusals", right=True),
    Column("last quarter hour", drop=1),
)


@click.group()
def limit() -> None:
    """Limits and their running counts."""


@limit.command("list")
@common.config_option
@common.json_option
@click.option(
    "--near",
    metavar="PERCENT",
    default="0%",
    help="Only limits used to at least that share, with what running requests hold.",
)
@click.option("--team", metavar="NAME", help="Only limits that hold for this team.")
@click.option("--key", metavar="NAME", help="Only limits that hold for this key.")
@click.option("--limit", "most", metavar="N", type=click.IntRange(1, 10_000), help="At most N.")
@click.option("--after", metavar="CURSOR", help="Those behind a page that --limit ended.")
def list_(
    config_path: Path | None,
    as_json: bool,
    near: str,
    team: str | None,
    key: str | None,
    most: int | None,
    after: str | None,
) -> None:
    """List limits and their states, the fullest first.

    For a team hold its own limits and those of the proxy and the upstreams, which all share. For a
    key hold its own, its team's and those shared ones. The running process is asked. Without one
    the counts are rebuilt from the ledger.

    \b
    Examples:
      tollkeeper limit list
      tollkeeper limit list --near 80%
      tollkeeper limit list --key bob --limit 20
    """
    with common.told():
        query = limits.LimitsQuery(near=near.strip(), team=team, key=key, after=after, limit=most)
        choice = limits.chosen(query)
        process = _process(config_path)
        if process is not None:
            given = {name: word for name, word in asdict(query).items() if word is not None}
            target = f"{limits.LIMITS_PATH}?{urlencode(given)}"
            found = admin_client.ask(process, "GET", target, type=limits.Limits)
        else:
            found = _directly(config_path, lambda it: it.list(choice))
    if as_json:
        common.print_json(found.limits)
    elif not found.limits:
        click.echo("No limits." if choice.near_ppm == 0 else f"No limit is used to {near}.")
    else:
        _print(found.limits)
    if found.next is not None:
        click.echo(f"There are more: --after {found.next}", err=True)


@limit.command("credit")
@common.config_option
@common.json_option
@click.argument("name")
@click.argument("amount")
@click.option(
    "--until",
    metavar="TIME",
    help="A day, which ends it at its midnight, or a time, in the configured zone. Without it: for "
    "the limit's running period, for a total for good.",
)
@click.option("--reason", required=True, help="Why; it stands in the ledger.")
def credit_(
    config_path: Path | None, as_json: bool, name: str, amount: str, until: str | None, reason: str
) -> None:
    """Raise a budget for a while.

    NAME is as `limit list` shows it, AMOUNT in its unit. A negative amount (behind --) takes back.

    \b
    Examples:
      tollkeeper limit credit team:research/USD/month 50 --reason "fair, ticket 4711"
      tollkeeper limit credit trial 100_000 --until 2026-12-01 --reason "one more week"
    """
    order = CreditOrder(amount=amount, reason=reason, until=until)
    with common.told():
        process = _process(config_path)
        if process is not None:
            done = admin_client.ask(
                process, "POST", limits.credit_path(name), order, type=limits.CreditAnswer
            )
        else:
            done = _directly(config_path, lambda it: it.credit(name, order))
    if as_json:
        common.print_json(done)
    else:
        click.echo(f"Credited {done.credited} (id {done.id}).")
        _print([done.limit])


@limit.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.argument("name", required=False)
@click.option(
    "--limit",
    "most",
    metavar="N",
    type=click.IntRange(1, 9999),
    default=100,
    help="At most N: 100.",
)
@click.option("--after", metavar="ID", help="Those behind this credit.")
def credits(
    config_path: Path | None,
    data_dir: Path | None,
    as_json: bool,
    name: str | None,
    most: int,
    after: str | None,
) -> None:
    """List the credits that were given, the newest first.

    NAME is a limit as `limit list` shows it. Without it: the credits of all limits.

    \b
    Examples:
      tollkeeper limit credits
      tollkeeper limit credits team:research/USD/month
    """
    book = common.open_book(config_path, data_dir)
    with common.told():
        found = book.reader.credits(name, after, most + 1)
    shown = found[:most]
    if as_json:
        common.print_json(shown)
    elif not shown:
        click.echo("No credits.")
    else:
        print_table(_CREDITS, [_credit_row(each) for each in shown])
    if len(found) > most:
        click.echo(f"There are more: --after {shown[-1].id}", err=True)


@limit.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.option("--team", metavar="NAME", help="Of this team alone.")
@click.option("--key", metavar="NAME", help="Of this key alone.")
@time_range.options
def refusals(
    config_path: Path | None,
    data_dir: Path | None,
    as_json: bool,
    team: str | None,
    key: str | None,
    from_: str | None,
    to: str | None,
    month: str | None,
) -> None:
    """Show the refused requests by key, team, reason and limit.

    The team is the key's at that time. They reached no vendor and are not billed. Times and the
    range are taken to the quarter hour.

    \b
    Examples:
      tollkeeper limit refusals --month 2026-11
      tollkeeper limit refusals --team research
    """
    book = common.open_book(config_path, data_dir)
    start, end = time_range.parse(from_, to, month, book.zone)
    with common.told():
        rows = book.reader.refusals(*dates.range_ms(start, end))
    rows = [row for row in rows if team in (None, row.team) and key in (None, row.key_id)]
    if as_json:
        common.print_json([books.RefusalRow.of(row) for row in rows])
        return
    whose = "".join(
        f" of the {what} {name}" for what, name in (("team", team), ("key", key)) if name
    )
    period = dates.described(start, end, book.zone)
    if not rows:
        click.echo(f"No refusals{whose} {period}.")
        return
    click.echo(f"Refusals{whose} {period}")
    print_table(_REFUSALS, [_refusal_row(row) for row in rows])


class _Desk:
    """Does the same without a process, on a store rebuilt from the ledger, whose lock it holds."""

    def __init__(self, settings: Settings, quota: Quota, ledger: Ledger) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._rules = rules_of(settings)
        self._quota = quota
        self._ledger = ledger

    async def list(self, choice: LimitChoice) -> limits.Limits:
        found = await standings(self._quota, self._rules, self._settings, _now_ms(), choice)
        return limits.Limits([standing(state, self._zone) for state in found.states], found.next)

    async def credit(self, id: str, order: CreditOrder) -> limits.CreditAnswer:
        done = await credit(
            id,
            order,
            self._quota,
            self._ledger,
            self._rules,
            zone=self._zone,
            now_ms=_now_ms(),
            by="command line",
        )
        return limits.CreditAnswer(done.id, done.credited, standing(done.state, self._zone))


def _process(config_path: Path | None) -> admin_client.AdminClient | None:
    if os.environ.get(admin_client.URL):
        return admin_client.running(Path(), os.environ)
    return admin_client.running(common.load(config_path).settings.data_dir, os.environ)


def _directly(config_path: Path | None, work: Callable[[_Desk], Awaitable[_T]]) -> _T:
    told = common.load(config_path).settings

    async def run() -> _T:
        async with own_ledger(told) as (ledger, reader):
            settings = directory.Directory(told, await ledger.tenants()).settings
            zone = ZoneInfo(settings.timezone)
            options = SharedOptions(instance=f"command-{os.getpid()}", timeout_s=10.0)
            quota = await connect_quota(
                settings.quota.url,
                zone,
                values_max=settings.quota.values_max,
                options=options,
            )
            try:
                if settings.quota.url == "memory:":
                    await restore(
                        quota,
                        rules_of(settings),
                        ledger,
                        reader,
                        currency=settings.currency,
                        zone=zone,
                        now_ms=_now_ms(),
                    )
                else:  # those who serve have built the counts; they alone know what is not booked
                    for given in await ledger.credits():
                        quota.grant(given, _now_ms())
                return await work(_Desk(settings, quota, ledger))
            finally:
                await quota.aclose()

    try:
        return asyncio.run(run())
    except (QuotaError, QuotaUnavailable) as error:
        raise common.Failed(str(error)) from error


def _print(found: list[LimitStatus]) -> None:
    """Print one line for each limit."""
    rows = []
    for each in found:
        credits = "" if str(each.granted) == "0" else f" + {each.granted} credit"
        figures = (str(each.used), str(each.held), str(each.remaining), f"{100 * each.taken:.0f} %")
        rows.append(
            (_name(each), each.rule + credits, each.enforce, *figures, formats.text(each.resets_at))
        )
    print_table(_COLUMNS, rows)


def _credit_row(each: Credit) -> tuple[str, ...]:
    """A line of the table. Money names its currency, other amounts their unit."""
    money = each.unit is not None and each.unit.isupper()
    until = each.valid_until_ms
    return (
        formats.moment(each.granted_at_ms),
        each.limit_id,
        f"{show_money(each.amount) if money else each.amount} {each.unit or ''}".rstrip(),
        "its period" if until is None else formats.moment(until),
        formats.text(each.granted_by),
        formats.text(each.reason),
    )


def _refusal_row(row: RefusalSum) -> tuple[str, ...]:
    """A line of the table."""
    return (
        formats.text(row.key_id),
        formats.text(row.team),
        row.code,
        formats.text(row.limit_id),
        formats.count(row.count),
        formats.moment(row.last_ms),
    )


def _name(each: LimitStatus) -> str:
    """The limit's id, with the value that this count is for."""
    if each.value is None:
        return each.id
    value = {MISSING: "(no value)", OTHERS: "(all other values)"}.get(each.value, each.value)
    return f"{each.id} = {value}"


def _now_ms() -> int:
    return time_ns() // 1_000_000
