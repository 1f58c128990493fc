"""`tollkeeper instance`: the processes that share a ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from proxy.cli import common, formats
from proxy.cli.tables import Column, print_table
from proxy.ledger.sharing import InstanceState, Sharing, connect_sharing

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
    found = _asked(config_path, lambda sharing: sharing.instances())
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
def forget(config_path: Path | None, name: str) -> None:
    """Take a lapsed one off the list, when its data directory is lost.

    What its journal held and the ledger has not is lost with the directory. What it held of limits
    in a shared quota is free when their windows end.

    \b
    Example:
      tollkeeper instance forget proxy-2 -c config.yaml
    """
    found = _asked(config_path, lambda sharing: sharing.forget(name))
    if found is None:
        raise common.Failed(f"there is no instance {name!r}: `tollkeeper instance list` names all")
    if found.state is InstanceState.LIVE:
        raise common.Failed(
            f"{name} lives, it was heard of {found.silent_s:.1f} s ago: stop it first; a process"
            " that was killed is lapsed after 5 s"
        )
    click.echo(f"{name} is forgotten; it was {found.state}.")


def _asked(config_path: Path | None, question: Callable[[Sharing], Awaitable[_T]]) -> _T:
    settings = common.load_here(config_path).settings

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
