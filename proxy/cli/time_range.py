"""The half-open range of time that a report covers, as typed on the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import click

from proxy.core import dates

_Command = TypeVar("_Command", bound=Callable[..., object])


def options(command: _Command) -> _Command:
    """`--from`, `--to` and `--month`, the same for every command."""
    for option in (
        click.option(
            "--month", metavar="YYYY-MM", help="One calendar month, instead of --from and --to."
        ),
        click.option("--to", metavar="TIME", help="Requests started before."),
        click.option(
            "--from",
            "from_",
            metavar="TIME",
            help="Requests started at or after: 2026-11-01, or 2026-11-01T12:00. "
            "In the configured zone.",
        ),
    ):
        command = option(command)
    return command


def parse(
    from_: str | None, to: str | None, month: str | None, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """(start, end) in `zone`; None is open.

    Raises a usage error for text that is no date, or an end that is not after the start.
    """
    if month is None:
        start = None if from_ is None else moment(from_, "--from", zone)
        end = None if to is None else moment(to, "--to", zone)
    elif from_ is None and to is None:
        start, end = calendar_month(month, zone)
    else:
        raise click.UsageError("--month goes without --from and --to.")
    # Compare Unix time: datetimes of one zone compare by local time, which goes back once a year.
    first_ms, end_ms = dates.range_ms(start, end)
    if first_ms is not None and end_ms is not None and end_ms <= first_ms:
        raise click.UsageError("the end of the range is not after its start.")
    return start, end


def moment(text: str, option: str, zone: ZoneInfo) -> datetime:
    """See `dates.moment`; raises a usage error that names the option."""
    try:
        return dates.moment(text, zone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def zone(name: str) -> ZoneInfo:
    """See `dates.zone`; raises a usage error."""
    try:
        return dates.zone(name)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--zone") from error


def check_month(text: str, argument: str) -> None:
    """Raise a usage error that names the argument for text that is no month such as 2026-11."""
    try:
        dates.month(text, UTC)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=argument) from error


def calendar_month(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the first midnight of the month to the next month's."""
    try:
        return dates.month(text, zone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--month") from error
