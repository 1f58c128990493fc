"""`tollkeeper instance`: the processes that share a ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.cli.own_ledger import own_ledger
from proxy.cli.tables import Column, print_table
from proxy.config.price_tables import TableError
from proxy.config.settings import Settings
from proxy.ledger.sharing import Instance, InstanceState, Sharing, connect_sharing
from proxy.quota import QuotaError, QuotaUnavailable
from proxy.quota.left import connect_left

if TYPE_CHECKING:
    from proxy.config import price_terms
    from proxy.config import prices as config_prices
    from proxy.server import forgetting
else:
    price_terms = later("proxy.config.price_terms")
    config_prices = later("proxy.config.prices")
    forgetting = later("proxy.server.forgetting")

ASK_S: Final = 30.0  # for an answer of the quota store

_COLUMNS = (
    Column("instance"),
    Column("state"),
    Column("started", drop=1),
    Column("last heard"),
    Column("silent", right=True),
)
_T = TypeVar("_T")


@click.group()
def instance() -> None:
    """The processes that share a ledger."""


@instance.command("list")
@common.config_option
@common.json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List them by name, with their state.

    `live`: heard of within 5 s. `left`: stopped in order, and everything of it is booked. `lapsed`:
    it says nothing; what its journal holds is booked when it starts again on its data directory.

    \b
    Example:
      tollkeeper instance list -c config.yaml
    """
    settings = common.load_here(config_path).settings
    found = _asked(settings, lambda sharing: sharing.instances())
    if as_json:
        common.print_json(found)
        return
    rows = [
        (
            one.name,
            one.state.value,
            formats.moment(one.started_at_ms),
            formats.moment(one.seen_at_ms),
            f"{one.silent_s:.1f} s",
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)


@instance.command()
@common.config_option
@click.argument("name")
@click.option("--yes", is_flag=True, help="Charge what it holds without asking.")
def forget(config_path: Path | None, name: str, yes: bool) -> None:
    """Give up a lapsed one, when its data directory is lost.

    What its journal held and the ledger has not is lost with the directory. What it holds of limits
    in a shared quota is charged: the ledger gets one record for each such request, of all that was
    held for it. A request that was never sent cannot be told apart, and is charged too. The command
    says how many they are and how much that is, and asks.

    Never forget one that may still live: a record that it books later becomes an adjustment.

    \b
    Examples:
      tollkeeper instance forget proxy-2 -c config.yaml
      tollkeeper instance forget proxy-2 -c config.yaml --yes
    """
    settings = common.load_here(config_path).settings
    found = _asked(settings, lambda sharing: _found(sharing, name))
    if settings.quota.url != "memory:":
        with common.told():
            try:
                asyncio.run(_charge(settings, found, yes))
            except (QuotaError, QuotaUnavailable) as error:
                raise common.Failed(f"nothing is forgotten yet: {error}") from error
    last = _asked(settings, lambda sharing: sharing.forget(name))
    if last is not None and last.state is InstanceState.LIVE:
        raise common.Failed(f"{name} has come back meanwhile, and is not forgotten")
    click.echo(f"{name} is forgotten; it was {found.state}.")


async def _found(sharing: Sharing, name: str) -> Instance:
    found = {one.name: one for one in await sharing.instances()}.get(name)
    if found is None:
        raise common.Failed(f"there is no instance {name!r}: `tollkeeper instance list` names all")
    if found.state is InstanceState.LIVE:
        raise common.Failed(
            f"{name} lives, it was heard of {found.silent_s:.1f} s ago: stop it first; a process"
            " that was killed is lapsed after 5 s"
        )
    return found


async def _charge(settings: Settings, instance: Instance, yes: bool) -> None:
    """Charge what the process holds, once the operator agrees."""
    try:
        prices = price_terms.price_book_of(settings, config_prices.table_of(settings))
    except (OSError, TableError) as error:
        raise common.Failed(f"prices: {error}") from error
    held = await connect_left(settings.quota.url, instance.home, ASK_S)
    assert held is not None, "the quota is shared"
    try:
        async with own_ledger(settings) as (ledger, _):
            found = await forgetting.look(held, ledger, prices, instance)
            _tell(instance.name, found)
            if found.charged and not yes:
                click.confirm("Charge them?", abort=True, err=True)
            await forgetting.charge(found, held, ledger, prices)
            await held.gone()
    finally:
        await held.aclose()


def _tell(name: str, found: forgetting.Charged) -> None:
    if not (found.booked or found.charged or found.unknown):
        click.echo(
            f"{name} holds nothing of limits. If the quota store has lost its counts since, it does"
            " not know what that process held."
        )
    if found.booked:
        count = formats.count(len(found.booked))
        click.echo(f"{count} requests that {name} holds are in the ledger, and end as booked.")
    if found.charged:
        sums = [f"{formats.money(nano)} {unit}" for unit, nano in found.charge_nano().items()]
        of_these = sum(record.charge_nano is None for _, record in found.charged)
        if of_these:
            sums.append(f"{formats.count(of_these)} without a price")
        click.echo(
            f"{formats.count(len(found.charged))} requests that {name} holds are in no ledger, and"
            f" are charged what is held for them: {', '.join(sums)}."
        )
    if found.unknown:
        click.echo(
            f"Warning: of {formats.count(found.unknown)} requests an older version has not stored"
            " whose they are: they stay held until the windows of their limits end",
            err=True,
        )


def _asked(settings: Settings, question: Callable[[Sharing], Awaitable[_T]]) -> _T:
    async def answer(sharing: Sharing) -> _T:
        try:
            return await question(sharing)
        finally:
            await sharing.aclose()

    def asked() -> _T:
        sharing = connect_sharing(settings.ledger.url)
        if sharing is None:
            raise common.Failed(
                "the ledger in ledger.url is one process's alone: several share one in PostgreSQL"
            )
        return asyncio.run(answer(sharing))

    return common.ask(asked)
