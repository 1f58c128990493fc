"""A closed statement held against the ledger, for the commands that show and verify it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from proxy.accounting.statements.kept import archived_through, differences
from proxy.accounting.statements.statement import MonthStatement
from proxy.cli import common
from proxy.core.statements.closing import Closing, Closings
from proxy.ledger.reading import BookReader


def not_closed(closings: Sequence[Closing], month: str, team: str | None) -> str:
    """The sentence that no statement is of exactly this month and team, and what to do."""
    known = Closings(closings)
    if team is not None and (of_all := known.of(month, None)) is not None:
        return (
            f"{month} is not closed for team {team} alone: statement {of_all.number} of all teams "
            "counts what no other one does. Leave --team out."
        )
    whose = "" if team is None else f" for team {team}"
    option = "" if team is None else f" --team {team}"
    apart = ", ".join(str(one.team) for one in known.apart(month)) if team is None else ""
    closed = f" for all teams; closed apart are {apart} (--team)" if apart else whose
    return f"{month} is not closed{closed}: `tollkeeper statement close {month}{option}` does it."


def held(
    reader: BookReader, found: MonthStatement, closings: Sequence[Closing]
) -> list[str] | None:
    """What the ledger says otherwise; None, and a note, where its records are archived."""
    archived = common.ask(lambda: archived_through(reader, found))
    if archived is None:
        return common.ask(lambda: differences(reader, found, closings))
    click.echo(
        f"Note: the ledger begins behind seq {archived}, so the statement was not held against it.",
        err=True,
    )
    return None
