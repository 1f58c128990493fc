"""What the commands of keys and teams have in common: options, words, and changes of state."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.cli import common, desk
from proxy.cli.lazy import later

if TYPE_CHECKING:
    from proxy.admin import tenant_views as views
else:
    views = later("proxy.admin.tenant_views")

Command = Callable[..., None]

_STATES = {
    "suspend": ("Refuse all requests of this {} from now on, until `resume`.", "POST"),
    "resume": ("Let the requests of a suspended {} through again.", "POST"),
    "revoke": ("End this {} for good. Its name is never used again.", "DELETE"),
}

_EXAMPLES = {
    "suspend": '{0} suspend {1} --cut --reason "leaked, ticket 7"',
    "resume": '{0} resume {1} --reason "a false alarm"',
    "revoke": '{0} revoke {1} --reason "has left"',
}
_DONE = {"suspend": "Suspended", "resume": "Resumed", "revoke": "Revoked"}
_TAKE_BACK = "Take back limits, limits_add, models or labels; of a key also expires or role."

reason = click.option("--reason", metavar="TEXT", help="Why; it stands in the audit.")


def team(command: Command) -> Command:
    """What only a key has: `--team`, `--role`, `--expires` become words; goes above `words`."""

    @click.option("--team", help="Who pays: the team of the key.")
    @click.option(
        "--role",
        type=click.Choice(["member", "lead"]),
        help="lead: it may read what its whole team uses.",
    )
    @click.option("--expires", help="A day, a time, or how long from now, such as 90d.")
    @functools.wraps(command)
    def run(
        *args: Any, team: str | None, role: str | None, expires: str | None, **more: Any
    ) -> None:
        said = {"team": team, "role": role, "expires": expires}
        command(*args, says={name: word for name, word in said.items() if word}, **more)

    return run


def words(command: Command) -> Command:
    """The options that say what config.yaml would; the command takes them as `says`."""

    @_many("--limit", "limits", help="A limit, in place of the defaults.")
    @_many("--limit-add", "limits_add", help="A limit beside the defaults.")
    @_many("--model", "models", help="A model it may call, such as 'gpt-*'.")
    @_many("--label", "labels", metavar="NAME=VALUE", help="For finance.")
    @functools.wraps(command)
    def run(
        *args: Any,
        limits: tuple[str, ...],
        limits_add: tuple[str, ...],
        models: tuple[str, ...],
        labels: tuple[str, ...],
        says: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        said: dict[str, Any] = {
            "limits": limits,
            "limits_add": limits_add,
            "models": models,
            "labels": dict(map(_label, labels)),
        }
        given = {name: value for name, value in said.items() if value}
        command(*args, says={**(says or {}), **given}, **more)

    return run


def take_back(command: Command) -> Command:
    """`--no WORD`, which takes a word back."""

    @_many("--no", "taken", metavar="WORD", help=_TAKE_BACK)
    @functools.wraps(command)
    def run(*args: Any, taken: tuple[str, ...], says: dict[str, Any], **more: Any) -> None:
        command(*args, says=dict.fromkeys(taken) | says, **more)

    return run


def state_commands(path: str, kind: str) -> Iterator[click.Command]:
    """`suspend`, `resume` and `revoke`."""
    for name, (text, method) in _STATES.items():
        yield _state_command(path, kind, name, text.format(kind), method)


def _state_command(path: str, kind: str, verb: str, text: str, method: str) -> click.Command:
    example = _EXAMPLES[verb].format(kind, "lab" if kind == "team" else "bob")

    @click.command(verb, help=f"{text}\n\n\b\nExample:\n  tollkeeper {example}")
    @common.config_option
    @click.argument("name")
    @reason
    def run(
        config_path: Path | None, name: str, reason: str | None, cut: bool = False, yes: bool = True
    ) -> None:
        # A script that has no terminal is not asked: it wrote what it means.
        if not yes and sys.stdin.isatty():
            asked = f"End the {kind} {name} for good? `{kind} suspend` could be taken back."
            click.confirm(asked, abort=True, err=True)
        target = desk.path(path, name) if method == "DELETE" else desk.path(path, name, verb)
        if cut:
            target += "?cut=true"
        done = desk.ask(config_path, method, target, {"reason": reason}, type=views.Done)
        ended = f" Requests ended: {done.ended}." if cut else ""
        click.echo(f"{_DONE[verb]}: {', '.join(done.changed)}.{ended}")
        for named, why in done.still_refused.items():
            click.echo(f"Warning: {named} stays refused: {why}", err=True)

    if verb != "resume":
        run.params.append(
            click.Option(["--cut"], is_flag=True, help="End also what runs, within a second.")
        )
    if verb == "revoke":
        run.params.append(
            click.Option(["--yes"], is_flag=True, help="Do not ask, as without a terminal.")
        )
    return run


def shown(view: views.KeyView | views.TeamView) -> list[tuple[str, str]]:
    """The words of a key or a team, as lines."""
    return [
        ("models", ", ".join(view.models) or "all"),
        ("limits", "defaults" if view.limits is None else ", ".join(view.limits) or "none"),
        *([("more limits", ", ".join(view.limits_add))] if view.limits_add else []),
        *([("labels", ", ".join(f"{k}={v}" for k, v in view.labels.items()))] * bool(view.labels)),
        ("from", "config.yaml" if view.managed_by == "file" else "the admin API"),
    ]


def _many(*names: str, help: str, metavar: str | None = None) -> Callable[[Command], Command]:
    """An option that may be given more than once, and says so."""
    return click.option(*names, multiple=True, metavar=metavar, help=f"{help} May be given again.")


def _label(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise common.Failed(f"--label {text!r}: write NAME=VALUE.")
    return name, value
