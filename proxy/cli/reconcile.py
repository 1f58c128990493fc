"""`tollkeeper ledger reconcile`: the ledger held against a vendor's bill."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.accounting.reconciling.bills import Bill, mapping_of
from proxy.accounting.reconciling.comparison import ReconcileAsk
from proxy.accounting.reconciling.job import reconcile as compare
from proxy.accounting.reconciling.own_side import Progress
from proxy.cli import common, reconcile_report, time_range
from proxy.core import dates
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.rates import StatedRates, rate_of
from proxy.core.reconciling.shapes import VENDORS

DIFFERENCES = 3  # the exit code
_TOLERANCE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")
_ALIASES = {"one-api": "new-api", "alibaba": "dashscope", "aliyun": "dashscope", "csv": "generic"}


@click.command()
@common.config_option
@common.data_dir_option
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--vendor",
    required=True,
    type=click.Choice([*VENDORS, *_ALIASES]),
    help="Whose bill it is: it says which columns mean what.",
)
@click.option(
    "--upstream",
    "upstreams",
    metavar="NAME",
    multiple=True,
    help="The upstream whose requests are on it. May be given again. Default: the one named like "
    "the vendor, or the only one.",
)
@time_range.options
@click.option(
    "--tolerance", metavar="PERCENT", default="0.5%", show_default=True, help="Of the bill."
)
@click.option(
    "--zone", metavar="ZONE", help="In which its days begin. Default: as the vendor does, or ours."
)
@click.option("--currency", metavar="CODE", help="Of its amounts, where it names none or several.")
@click.option(
    "--rate",
    "rates",
    metavar="CODE=NUMBER",
    multiple=True,
    help="What a unit of the bill's currency is in the ledger's, such as CNY=0.14: compare in the "
    "ledger's. May be given again.",
)
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    help="How fine to compare. Default: as fine as the file allows.",
)
@click.option(
    "--mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Which columns mean what, as YAML.",
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
@common.json_option
def reconcile(
    config_path: Path | None,
    data_dir: Path | None,
    files: tuple[Path, ...],
    vendor: str,
    upstreams: tuple[str, ...],
    from_: str | None,
    to: str | None,
    month: str | None,
    tolerance: str,
    zone: str | None,
    currency: str | None,
    rates: tuple[str, ...],
    level: str | None,
    mapping: Path | None,
    form: str,
    as_json: bool,
) -> None:
    """Hold the ledger against a vendor's bill.

    FILE is what the vendor lets you download, or what its billing API answers: csv, JSON or JSON
    lines, also as gz or zip; several FILEs are one bill, such as pages in their order. It is
    compared by request where it has ids, else by hour, day or month and model.

    What is on the bill and not in the ledger went round the proxy on your key. What differs has its
    likely cause. Exit code 3 if more differs than the tolerance, 0 if not.

    \b
    Examples:
      tollkeeper ledger reconcile costs.json --vendor openai --month 2026-11
      tollkeeper ledger reconcile bill.csv --vendor generic --mapping bill.yaml --tolerance 0.1%
    """
    share = _share(tolerance)
    currency = None if currency is None else _currency(currency)
    with _told():
        book = common.open_own_book(config_path, data_dir, "ledger reconcile")
        own_zone, reader = book.zone, book.reader
        name = _ALIASES.get(vendor, vendor)
        told = _rates(book, rates)
        columns = None if mapping is None else mapping_of(mapping)
        own = None if zone is None else time_range.zone(zone)
        bill = Bill(files, name, columns, own, currency)
        start, end = time_range.parse(from_, to, month, bill.zone(own_zone))
        from_ms, to_ms = dates.range_ms(start, end)
        ask = ReconcileAsk(
            upstreams=_upstreams(book, name, upstreams),
            from_ms=from_ms,
            to_ms=to_ms,
            currency=currency if told is None else told.into,
            rates=told,
            level=None if level is None else Level(level),
        )
        with _progress() as progress:
            found = compare(bill, ask, reader, own_zone, progress)
    within = reconcile_report.within(found, share)
    if as_json or form == "json":
        common.print_json(
            {"vendor": name, "within_tolerance": within, "tolerance": tolerance}
            | {"remainder_nano": reconcile_report.remainder_nano(found)}
            | msgspec.to_builtins(found)
        )
    elif form == "csv":
        click.echo(reconcile_report.as_csv(found, ZoneInfo(found.zone)), nl=False)
    else:
        reconcile_report.show(found, files, name, tolerance, within=within)
    if not within:
        raise click.exceptions.Exit(DIFFERENCES)


@contextmanager
def _told() -> Iterator[None]:
    """End the command with a sentence where the file or the ledger cannot be read."""
    try:
        with common.told():
            yield
    except UnreadableBill as error:
        raise common.Failed(str(error)) from error
    except OSError as error:
        raise common.Failed(f"{error.filename}: {error.strerror or error}") from error


@contextmanager
def _progress() -> Iterator[Callable[[int], Progress]]:
    with ExitStack() as stack:
        yield lambda steps: stack.enter_context(
            common.progress("Comparing", steps, shown=sys.stderr.isatty())
        )


def _upstreams(book: common.OwnBook, vendor: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The upstreams whose requests are on the bill."""
    rows = book.reader.usage(["upstream"], None, None, book.zone, sums=["requests"])
    known = sorted({str(row["upstream"]) for row in rows if row["upstream"] is not None})
    if unknown := [name for name in named if name not in known]:
        raise common.Failed(
            f"The ledger has no requests to {unknown[0]!r}; it has {', '.join(known) or 'none'}."
        )
    if named:
        return named
    sources = {name: said.price_source for name, said in book.settings.upstreams.items()}
    alike = [name for name in known if vendor in (name, sources.get(name))]
    found = alike or (known if len(known) == 1 else [])
    if not found:
        raise common.Failed(
            f"Say with --upstream whose requests are on this bill: {', '.join(known)}."
            if known
            else f"The ledger {book.reader.name} has no requests to compare."
        )
    return tuple(found)


def _rates(book: common.OwnBook, stated: tuple[str, ...]) -> StatedRates | None:
    """The stated rates, and the ledger's currency that they lead into."""
    if not stated:
        return None
    rates: dict[str, Fraction] = {}
    for text in stated:
        try:
            code, rate = rate_of(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} {error}.", param_hint="--rate") from error
        if code in rates:
            raise click.BadParameter(f"{code} has two rates: give one.", param_hint="--rate")
        rates[code] = rate
    rows = book.reader.usage(["upstream"], None, None, book.zone, sums=["requests"])
    known = sorted({str(row["currency"]) for row in rows if row["currency"] is not None})
    if len(known) != 1:
        raise common.Failed("The ledger has no costs in one currency: leave --rate out.")
    if known[0] in rates:
        raise click.BadParameter(
            f"{known[0]} is the ledger's currency: state what the bill's is in it.",
            param_hint="--rate",
        )
    return StatedRates(known[0], rates)


def _currency(text: str) -> str:
    if re.fullmatch("[A-Za-z]{3}", text) is None:
        raise click.BadParameter(
            f"{text!r} is no currency code: write three letters such as EUR.",
            param_hint="--currency",
        )
    return text.upper()


def _share(text: str) -> Fraction:
    match = _TOLERANCE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is no share: write 0.5%.", param_hint="--tolerance")
    return Fraction(match[1]) / 100
