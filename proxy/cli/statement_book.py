"""A closed statement held against the ledger, for the commands that show and verify it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from proxy.accounting.statements.kept import archived_through, differences
from proxy.accounting.statements.statement import MonthStatement
from proxy.cli import common
from proxy.core.statements.closing import Closing
from proxy.ledger.reading import BookReader


def held(reader: BookReader, found: MonthStatement, closings: Sequence[Closing]) -> list[str]:
    """What the ledger says otherwise; nothing, and a note, where its records are archived."""
    archived = common.ask(lambda: archived_through(reader, found))
    if archived is None:
        return common.ask(lambda: differences(reader, found, closings))
    click.echo(
        f"Note: the ledger begins behind seq {archived}, so the statement was not held against it.",
        err=True,
    )
    return []
