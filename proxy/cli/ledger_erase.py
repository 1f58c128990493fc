"""`tollkeeper ledger erase-user`: makes the records of an end user anonymous."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

import click

from proxy.cli import admin_client, common
from proxy.cli.lazy import later
from proxy.cli.own_ledger import own_ledger
from proxy.config.settings import Settings

if TYPE_CHECKING:
    import asyncio

    from proxy.accounting import end_users
    from proxy.admin import erasure
else:
    asyncio = later("asyncio")
    end_users = later("proxy.accounting.end_users")
    erasure = later("proxy.admin.erasure")


@click.command("erase-user")
@common.config_option
@click.argument("name", required=False)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read NAME from standard input.")
@click.option("--reason", metavar="TEXT", help="For the audit. Do not put the name there.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@common.json_option
def erase_user(
    config_path: Path | None,
    name: str | None,
    from_stdin: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete the salt of the end user NAME, so that no record can be linked with the name any more.

    NAME is what requests gave, exactly. Under `privacy.end_user: hash` records have a hash of it
    that only its salt leads to. Records, sums and the chain stay as they are. The audit says that
    an end user was erased, when, by whom and why, and neither the name nor the hash. It cannot be
    taken back.

    Backups have the salt until they are deleted. Several processes with one ledger each have it in
    memory: ask each of them, or restart them. The exit code is 1 where no such end user is known.

    \b
    Examples:
      tollkeeper ledger erase-user ann@example.org --reason "request of 3 May"
      tollkeeper ledger erase-user --stdin --yes < name.txt
    """
    if (name is None) != from_stdin:
        raise click.UsageError("Give NAME, or --stdin.")
    told = sys.stdin.read().rstrip("\r\n") if name is None else name
    if not told.isprintable():
        raise common.Failed("No request is booked under a name that is not printable.")
    if not yes:
        if from_stdin:
            raise click.UsageError("--stdin goes with --yes.")
        click.confirm("Erase this end user for good?", abort=True, err=True)
    done = _erased(config_path, told, reason)
    if as_json:
        common.print_json(done)
    if not done.erased:
        raise common.Failed(
            "No such end user is known: check the spelling. Or it was erased before, or "
            "`privacy.end_user` was not `hash` when its requests came."
        )
    if not as_json:
        click.echo("Erased. No record can be linked with this name any more.")


def _erased(config_path: Path | None, name: str, reason: str | None) -> erasure.Erased:
    process = admin_client.elsewhere()
    if process is None:
        settings = common.load_here(config_path).settings
        process = admin_client.here(settings)
        if process is None:
            with common.told():
                return asyncio.run(_directly(settings, name, reason))
    order = {"end_user": name, "reason": reason}
    return admin_client.ask(process, "POST", erasure.ERASE_PATH, order, type=erasure.Erased)


async def _directly(settings: Settings, name: str, reason: str | None) -> erasure.Erased:
    deed = erasure.deed(getpass.getuser(), "command line", time_ns() // 1_000_000, reason)
    async with own_ledger(settings) as (ledger, _):
        key = (settings.data_dir / settings.ledger.key_file).read_bytes()  # it is there by now
        return erasure.Erased(await ledger.erase_end_user(end_users.lookup_of(key, name), deed))
