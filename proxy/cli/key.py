"""`tollkeeper key`: API keys, and the digests that config.yaml keeps instead of secrets."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from proxy.cli import common, desk, formats, key_import, tenant_options
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table
from proxy.tenants.key import KEY_BYTES_MIN, check, make_key

if TYPE_CHECKING:
    from proxy.admin import tenant_views as views
else:
    views = later("proxy.admin.tenant_views")

PATH, TEAMS_PATH = "/admin/v1/keys", "/admin/v1/teams"
HASHED_MAX = 10_000  # keys at once
_COLUMNS = (
    Column("key"),
    Column("team"),
    Column("state"),
    Column("last used", drop=1),
    Column("expires", drop=2),
    Column("limits", drop=3),
    Column("models", drop=4),
    Column("from", drop=5),
)


@click.group()
def key() -> None:
    """API keys: make, change, rotate, suspend and end them."""


@key.command("hash")
@common.config_option
@common.json_option
@click.option(
    "--new", is_flag=True, help="Make a new random key and print it too. It is shown this once."
)
@click.option(
    "--count",
    type=click.IntRange(1, HASHED_MAX),
    help="With --new: make so many keys. The table has a key and its digest a line.",
)
def hash_(config_path: Path | None, as_json: bool, new: bool, count: int | None) -> None:
    """Print the `secret_sha256` of a key, for config.yaml.

    The secret is read from standard input, without an echo on a terminal, and never from the
    command line, where others could see it. No config is read.

    \b
    Examples:
      tollkeeper key hash
      printf %s "$ALICE_KEY" | tollkeeper key hash
      tollkeeper key hash --new
      tollkeeper key hash --new --count 20
    """
    if count is not None and not new:
        raise click.UsageError("--count goes with --new: one secret is read from standard input.")
    secrets_ = [_new_secret() if new else _read() for _ in range(count or 1)]
    made = [
        ({"secret": secret} if new else {})
        | {"secret_sha256": hashlib.sha256(secret.encode()).hexdigest()}
        for secret in secrets_
    ]
    if as_json:
        common.print_json(made[0] if count is None else made)
    elif count is None:
        for name, value in made[0].items():
            click.echo(f"{name}: {value}")
    else:
        columns = (Column("secret"), Column("secret_sha256"))
        print_table(columns, [(one["secret"], one["secret_sha256"]) for one in made])


@key.command()
@common.config_option
@common.json_option
@click.argument("name")
@tenant_options.team
@tenant_options.words
@click.option("--count", type=int, help="Make so many keys, called NAME-1, NAME-2 and so on.")
@click.option(
    "--given", is_flag=True, help="Read the secret from standard input instead of making one."
)
@click.option("--sha256", metavar="HEX", help="The secret is known elsewhere: its SHA-256.")
@tenant_options.reason
def create(
    config_path: Path | None,
    as_json: bool,
    name: str,
    says: dict[str, Any],
    count: int | None,
    given: bool,
    sha256: str | None,
    reason: str | None,
) -> None:
    """Make a key. Its secret is shown this once.

    It serves from the next request on, without a reload.

    \b
    Examples:
      tollkeeper key create bob --team research --limit "60 requests/minute"
      tollkeeper key create ci --count 20 --model 'gpt-*' --expires 90d
    """
    order = {"name": name, "says": says, "count": count, "reason": reason}
    order |= {"secret": _read() if given else None, "secret_sha256": sha256}
    made = desk.ask(config_path, "POST", PATH, order, type=views.MadeKeys)
    _print_made(made, as_json=as_json)


@key.command("list")
@common.config_option
@common.json_option
@click.option("--team", help="Only the keys of this team.")
@click.option(
    "--state",
    type=click.Choice(["active", "suspended", "revoked"]),
    help="Only the keys in this state.",
)
def list_(config_path: Path | None, as_json: bool, team: str | None, state: str | None) -> None:
    """List the keys: whose they are, their state and last use.

    They are in the order of their names, ci-2 before ci-10.

    \b
    Example:
      tollkeeper key list --team research
    """
    found = sorted(_all(config_path, team, state), key=lambda one: formats.natural(one.name))
    if as_json:
        common.print_json(found)
        return
    rows = [
        (
            one.name,
            formats.text(one.team),
            one.state if one.fault is None else "refused",
            formats.moment(one.last_used_ms),
            formats.text(one.expires),
            "defaults" if one.limits is None else ", ".join([*one.limits, *one.limits_add]),
            ", ".join(one.models) or "all",
            one.managed_by,
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)
    click.echo("1 key." if len(rows) == 1 else f"{len(rows)} keys.")
    if team is not None and not rows:
        # Ends with the nearest name where no team is called so.
        desk.ask(config_path, "GET", desk.path(TEAMS_PATH, team), type=views.TeamView)


@key.command()
@common.config_option
@common.json_option
@click.argument("name")
def show(config_path: Path | None, as_json: bool, name: str) -> None:
    """Show one key, and when its secrets were made.

    \b
    Example:
      tollkeeper key show bob
    """
    one = desk.ask(config_path, "GET", desk.path(PATH, name), type=views.KeyView)
    if as_json:
        common.print_json(one)
        return
    rows = [
        ("key", one.name),
        ("team", formats.text(one.team)),
        ("role", one.role),
        ("state", one.state),
        ("refused because", formats.text(one.fault)),
        ("last used", formats.moment(one.last_used_ms)),
        ("expires", formats.text(one.expires)),
        *tenant_options.shown(one),
        ("made", formats.moment(one.created_at_ms)),
        ("made by", formats.text(one.created_by)),
    ]
    for secret in one.secrets:
        made = formats.moment(secret.made_at_ms)
        if secret.until_ms is None:
            rows.append(("secret made", made))
        else:
            until = formats.moment(secret.until_ms)
            rows.append(("replaced secret", f"made {made}, good until {until}"))
    common.print_fields([row for row in rows if row[1] != formats.UNKNOWN])


@key.command()
@common.config_option
@common.json_option
@click.argument("name")
@click.option(
    "--grace", default="24h", show_default=True, help="How long the present secret is good for."
)
@tenant_options.reason
def rotate(
    config_path: Path | None, as_json: bool, name: str, grace: str, reason: str | None
) -> None:
    """Make a new secret for a key. Both are good for the grace period.

    The name stays, and with it usage, limits and records.

    \b
    Example:
      tollkeeper key rotate bob --grace 48h
    """
    order = {"grace": grace, "reason": reason}
    made = desk.ask(
        config_path, "POST", desk.path(PATH, name, "rotate"), order, type=views.MadeKeys
    )
    _print_made(made, as_json=as_json)


@key.command()
@common.config_option
@click.argument("name")
@tenant_options.team
@tenant_options.words
@tenant_options.take_back
@tenant_options.reason
def edit(config_path: Path | None, name: str, says: dict[str, Any], reason: str | None) -> None:
    """Change a key's words: each option replaces what stood there.

    An option that may be given again replaces all that stood there.

    \b
    Examples:
      tollkeeper key edit bob --limit "5 USD/day" --limit "10 concurrent"
      tollkeeper key edit bob --no limits --no models
    """
    order = {"says": says, "reason": reason}
    desk.ask(config_path, "PATCH", desk.path(PATH, name), order, type=views.Done)
    click.echo(f"Changed {name}.")


for _command in (key_import.import_, *tenant_options.state_commands(PATH, "key")):
    key.add_command(_command)


def _all(config_path: Path | None, team: str | None, state: str | None) -> Iterator[views.KeyView]:
    chosen = {"team": team, "state": state}
    after: str | None = ""
    while after is not None:
        asked = {name: value for name, value in chosen.items() if value} | {"after": after}
        page = desk.ask(config_path, "GET", f"{PATH}?{urlencode(asked)}", type=views.Keys)
        yield from page.keys
        after = page.next


def _print_made(made: views.MadeKeys, *, as_json: bool) -> None:
    if as_json:
        common.print_json(made)
        return
    columns = (Column("key"), Column("secret"))
    print_table(columns, [(one.name, one.secret or "as given") for one in made.keys])
    if any(one.secret for one in made.keys):
        click.echo("Nobody can look these secrets up later: hand them on now.", err=True)


def _new_secret() -> str:
    return make_key(secrets.token_bytes(KEY_BYTES_MIN))


def _read() -> str:
    """The secret from the prompt or the first line of standard input."""
    if sys.stdin.isatty():
        secret = str(click.prompt("Key", hide_input=True, err=True))
    else:
        try:
            secret = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise common.Failed("The key on standard input is not UTF-8.") from error
    if not secret.strip():
        raise common.Failed("There is no key on standard input: pipe one in, or use --new.")
    if secret != secret.strip():
        raise common.Failed("The key begins or ends with a space: no client can send it that way.")
    if secret.startswith("sk-tk-") and not check(secret):
        raise common.Failed("This sk-tk- key has a typo: its check characters do not fit.")
    return secret
