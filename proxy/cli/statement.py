"""`tollkeeper statement`: a month for those who pay, from the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import time_ns

import click

from proxy.accounting.export.usage import as_csv
from proxy.accounting.statements.closing import CloseRefused, zone_of
from proxy.accounting.statements.document import as_html, as_markdown
from proxy.accounting.statements.kept import NoStatement, thawed
from proxy.accounting.statements.statement import BY, MonthStatement, read_statement
from proxy.cli import common, time_range
from proxy.cli.lazy import LazyGroup
from proxy.cli.statement_book import held, not_closed
from proxy.cli.unknown import unknown_names
from proxy.core.money import decimal
from proxy.core.statements.closing import ClosedStatement, Closing, Closings
from proxy.core.statements.frozen import digest, public_pem
from proxy.system.drafts import write_whole

DIFFERS = 3  # the exit code


@click.group(
    cls=LazyGroup,
    lazy={
        "close": (
            "proxy.cli.statement_close:close",
            "Close a month: freeze its statement, sign it and keep it for good.",
        ),
        "list": (
            "proxy.cli.statement_list:list_",
            "List the closed months, in the order of closing.",
        ),
        "verify": (
            "proxy.cli.statement_verify:verify",
            "Check a closed statement: its signature, its sums, and the ledger behind it.",
        ),
    },
)
def statement() -> None:
    """A month for those who pay."""


@statement.command()
@common.config_option
@common.data_dir_option
@click.argument("month", metavar="YYYY-MM")
@click.option("--team", help="Only what this team used.")
@click.option(
    "--zone", metavar="ZONE", help="Of the month's first midnight. Default: as configured."
)
@click.option(
    "--through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="As the book stood at that seq: the same amounts whenever it is asked.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "html", "json"]),
    default="md",
    show_default=True,
)
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Of a closed month: write the signed file, its signature and the public key there.",
)
@common.json_option
def show(
    config_path: Path | None,
    data_dir: Path | None,
    month: str,
    team: str | None,
    zone: str | None,
    through: int | None,
    form: str,
    save: Path | None,
    as_json: bool,
) -> None:
    """Show what each team owes for a month, and what the amounts stand on.

    Totals by key and model, labels, the share of requests whose tokens the vendor stated, price
    versions, corrections, credits and refusals. csv has the totals of the month alone.

    A closed month is shown as it was closed, whatever was booked since, and is held against the
    ledger: if that says something else now, the exit code is 3. Of an open month the head names the
    seq and the hash up to which the ledger was read: --through with that seq gives the same amounts
    again. The statement of the next month to be closed also has what came late for earlier ones.

    It reads each record of the month: about twelve seconds for a million.

    \b
    Examples:
      tollkeeper statement show 2026-11
      tollkeeper statement show 2026-11 --team research --format html > november.html
      tollkeeper statement show 2026-11 --save november
    """
    time_range.check_month(month, "YYYY-MM")
    if zone is not None:
        time_range.zone(zone)
    book = common.open_book(config_path, data_dir)
    closings = common.ask(book.reader.closings)
    closed = Closings(closings).of(month, team)
    wrong: list[str] = []
    if closed is None:
        if save is not None:
            raise common.Failed(not_closed(closings, month, team))
        found = _open_month(book, closings, month, team, zone, through)
        unknown = unknown_names(book.reader, book.zone, {"team": team}) if not found.rows else []
        if unknown and not found.earlier:
            raise common.Failed(unknown[0])
    else:
        if through not in (None, closed.through):
            raise common.Failed(
                f"{month} was closed at seq {closed.through}: leave --through out to see it."
            )
        if zone not in (None, closed.zone):
            raise common.Failed(f"{month} was closed in {closed.zone}: leave --zone out to see it.")
        kept, found = _closed_month(book, closed)
        wrong = held(book.reader, found, closings) or []
        if save is not None:
            _save(save, kept)
    _print(found, "json" if as_json else form)
    for what in wrong:
        click.echo(f"WARNING: not what the ledger says now: {what}", err=True)
    if wrong:
        raise click.exceptions.Exit(DIFFERS)
    if closed is None:
        _note(closings, found, month, team)
    if not found.rows and not found.earlier:
        whose = "" if team is None else f" of team {team}"
        begun = "" if found.from_ms <= time_ns() // 1_000_000 else f": {month} has not begun"
        click.echo(f"No records in {month}{whose}{begun}.", err=True)


def _note(closings: Sequence[Closing], found: MonthStatement, month: str, team: str | None) -> None:
    """Say where a month that is not closed counts what is not seen in its statement."""
    if (later := _later(closings, found)) is not None:
        click.echo(
            f"Note: {later.month} is closed already. What is booked for {month} now is in the next "
            "statement, and is shown there too.",
            err=True,
        )
    if (of_all := Closings(closings).of(month, None)) is not None:
        click.echo(
            f"Note: {month} is closed for all teams as statement {of_all.number}, which counts "
            f"team {team} too: `tollkeeper statement show {month}` shows it. Here is what was "
            "booked since.",
            err=True,
        )


def _later(closings: Sequence[Closing], found: MonthStatement) -> Closing | None:
    """A closed month behind one that is not closed: the open one had nothing then."""
    last = Closings(closings).last_over(found.team)
    return last if last is not None and last.from_ms > found.from_ms else None


def _open_month(
    book: common.OpenLedger,
    closings: Sequence[Closing],
    month: str,
    team: str | None,
    named: str | None,
    through: int | None,
) -> MonthStatement:
    """The statement of a month that is not closed."""
    known = [one for one in closings if through is None or one.through <= through]
    try:
        zone = zone_of(Closings(known), team, named, book.zone)
    except CloseRefused as error:
        raise common.Failed(f"{error}.") from error
    start, end = time_range.calendar_month(month, zone)
    return common.ask(
        lambda: read_statement(
            book.reader, start, end, zone, team=team, through=through, closings=known
        )
    )


def _closed_month(
    book: common.OpenLedger, closing: Closing
) -> tuple[ClosedStatement, MonthStatement]:
    kept = common.ask(lambda: book.reader.closed_statement(closing.number))
    if kept is None or digest(kept.document) != closing.digest:
        raise common.Failed(
            f"statement {closing.number} is not as it was closed: `tollkeeper ledger verify` says "
            "more."
        )
    try:
        return kept, thawed(kept.document)
    except NoStatement as error:
        raise common.Failed(f"statement {closing.number}: {error}.") from error


def _save(directory: Path, kept: ClosedStatement) -> None:
    closing = kept.closing
    name = f"statement-{closing.number}-{closing.month}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / "public.pem", public_pem(kept.public_key).encode())
        write_whole(directory / f"{name}.json.sig", kept.signature)
        write_whole(directory / f"{name}.json", kept.document)
    except OSError as error:
        raise common.Failed(f"cannot write to {directory}: {error.strerror}") from error
    click.echo(f"Wrote {directory / name}.json, its .sig, and public.pem.", err=True)


def _print(found: MonthStatement, form: str) -> None:
    if form == "json":
        common.print_json(found)
    elif form == "csv":
        # Its totals are made of the groups.
        groups = [row for row in found.rows if row["row"] != "total"]
        click.echo(f"As the ledger stood at seq {found.through}", err=True)
        click.echo(as_csv(groups, BY), nl=False)
        if found.earlier:
            due = ", ".join(
                f"{decimal(one.charge_nano or 0)} {one.currency} of charge" for one in found.due
            )
            click.echo(
                "WARNING: corrections of earlier months are not in the csv. With them "
                f"{due or 'nothing'} is due: `--format json` has both.",
                err=True,
            )
    else:
        click.echo(as_html(found) if form == "html" else as_markdown(found), nl=False)
