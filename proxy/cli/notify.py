"""`tollkeeper notify`: who is told of what, and a message to try it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli import common
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table
from proxy.core.ids import RANDOM_BYTES, uuid7
from proxy.core.notices.notice import Notice, iso
from proxy.core.spelling import nearest
from proxy.notify.attempt import Attempt

if TYPE_CHECKING:
    from proxy.notify import receivers, sending
else:
    receivers = later("proxy.notify.receivers")
    sending = later("proxy.notify.sending")

_COLUMNS = (
    Column("name"),
    Column("team", drop=1),
    Column("format"),
    Column("to"),
    Column("events", drop=2),
)


@click.group()
def notify() -> None:
    """Who is told when a limit is reached or something is wrong."""


@notify.command("list")
@common.config_option
@common.json_option
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the receivers of the config. Of a URL the host is shown: the rest is a secret.

    \b
    Example:
      tollkeeper notify list
    """
    rows = [
        {
            "name": one.name,
            "team": one.team,
            "format": "mail" if one.settings.mail else one.settings.format,
            "to": one.where,
            "events": one.events,
        }
        for one in _receivers(config_path)
    ]
    if as_json:
        common.print_json(rows)
    else:
        print_table(
            _COLUMNS,
            [
                (
                    str(row["name"]),
                    str(row["team"] or ""),
                    str(row["format"]),
                    str(row["to"]),
                    ", ".join(map(str, row["events"] or ())),
                )
                for row in rows
            ],
        )


@notify.command("test")
@common.config_option
@click.argument("names", nargs=-1, metavar="[NAME]...")
def test(config_path: Path | None, names: tuple[str, ...]) -> None:
    """Send one test message to each receiver, and show the answers.

    With NAME, send it to those alone.

    It goes out from here, once, whether a proxy runs or not. The exit code is 1 if one of them did
    not take it.

    \b
    Examples:
      tollkeeper notify test
      tollkeeper notify test ops
    """
    chosen = _receivers(config_path)
    known = {one.name: one for one in chosen}
    for name in names:
        if name not in known:
            raise common.Failed(
                f"There is no receiver {name!r}; the nearest is {nearest(name, known)}. "
                "See them all with: tollkeeper notify list"
            )
    if names:
        chosen = [known[name] for name in dict.fromkeys(names)]
    failed = False
    for one, attempt in zip(chosen, asyncio.run(_send(chosen)), strict=True):
        verdict = "taken" if attempt.result == "delivered" else "NOT TAKEN"
        click.echo(f"{one.name} ({one.where}): {verdict}, {attempt.said}")
        failed = failed or attempt.result != "delivered" or attempt.partly
    if failed:
        raise click.exceptions.Exit(1)


def _receivers(config_path: Path | None) -> list[receivers.NoticeReceiver]:
    loaded = common.load_local(config_path)
    found = list(receivers.receivers_of(loaded.settings))
    if not found:
        raise common.Failed(
            f"{loaded.path} names no receiver: add an entry to `notify`, such as "
            'notify: [{url: "${SLACK_WEBHOOK}", format: slack}]'
        )
    return found


async def _send(chosen: Sequence[receivers.NoticeReceiver]) -> list[Attempt]:
    sender = sending.Sender(_now_ms)
    try:
        return await asyncio.gather(*(sender.send(one, _message(one)) for one in chosen))
    finally:
        await sender.aclose()


def _message(to: receivers.NoticeReceiver) -> sending.NoticeMessage:
    now_ms = _now_ms()
    notice = Notice(
        event="test",
        at_ms=now_ms,
        subject="test",
        team=to.team,
        title=f"This is a test: notices for {to.name} arrive here.",
        facts=(("Told of", ", ".join(to.events)),),
        data={"receiver": to.name, "sent_at": iso(now_ms)},
    )
    return sending.NoticeMessage(f"msg_{uuid7(now_ms, os.urandom(RANDOM_BYTES))}", (notice,))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
