"""`tollkeeper price what-if`: what the same requests would have cost under other terms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from proxy.accounting.what_if import sums_under, whole
from proxy.accounting.what_if_sums import WhatIfSum, totals
from proxy.cli import common, formats, time_range
from proxy.cli.tables import Column, print_table
from proxy.cli.what_if_notes import notes
from proxy.config.price_file import PriceFileError, rows_of_file
from proxy.core import dates
from proxy.core.money import decimal
from proxy.core.pricing.amounts import plain
from proxy.core.pricing.scenario import Scenario

_SHARE = re.compile(r"0(?:\.[0-9]{1,9})?|1(?:\.0{1,9})?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,7})?)\s*%")
_COLUMNS = (
    Column("team"),
    Column("model"),
    Column("requests", right=True, drop=2),
    Column("cost", right=True, drop=1),
    Column("would cost", right=True),
    Column("difference", right=True),
    Column("currency"),
    Column("unpriced then", right=True, drop=3),
)


@click.command("what-if")
@common.config_option
@common.data_dir_option
@common.json_option
@time_range.options
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="By the `prices` of this YAML file alone, such as a vendor's offer.",
)
@click.option(
    "--model",
    "models",
    metavar="OLD=NEW",
    multiple=True,
    help="As if requests for OLD, a glob, had gone to NEW. May be given again.",
)
@click.option(
    "--tier", metavar="TIER", help="As if all answers were in this tier; '' is the usual."
)
@click.option("--discount", metavar="SHARE", help="As if all upstreams gave it: 10% or 0.1.")
@click.option("--upstream", "upstreams", metavar="NAME", multiple=True, help="Only its requests.")
@click.option("--team", "teams", metavar="NAME", multiple=True, help="Only its; '' for no team.")
def what_if(
    config_path: Path | None,
    data_dir: Path | None,
    as_json: bool,
    from_: str | None,
    to: str | None,
    month: str | None,
    prices: Path | None,
    models: tuple[str, ...],
    tier: str | None,
    discount: str | None,
    upstreams: tuple[str, ...],
    teams: tuple[str, ...],
) -> None:
    """Say what the requests of a period would have cost under other terms.

    Nothing is written. Each request is priced by the terms of its own time, with what is asked in
    their place: other price rows, another model, another tier, another discount. Its tokens stay,
    though another model would have counted and answered otherwise. What would have no price is
    unknown, and not zero.

    \b
    Examples:
      tollkeeper price what-if --month 2026-11 --model 'gpt-4o=deepseek-v3.2'
      tollkeeper price what-if --month 2026-11 --prices offer.yaml --discount 10%
    """
    with common.told():
        book = common.open_own_book(config_path, data_dir, "price what-if")
        start, end = time_range.parse(from_, to, month, book.zone)
        try:
            rows = None if prices is None else rows_of_file(prices, book.settings)
        except PriceFileError as error:
            raise common.Failed("\n".join(error.messages)) from error
        scenario = Scenario(
            rows=rows,
            models=tuple(_pair(text) for text in models),
            tier=tier,
            discount=None if discount is None else _share(discount),
        )
        stretch = whole(book.reader, *dates.range_ms(start, end))
        with common.progress("Pricing", stretch.through - stretch.after) as advance:
            sums = sums_under(
                book.reader,
                scenario,
                stretch,
                upstreams=upstreams,
                teams=teams,
                advance=advance,
            )
    with common.told():
        for note in notes(book.reader, book.zone, scenario, sums, upstreams, teams):
            click.echo(f"Note: {note}", err=True)
    if as_json:
        common.print_json([_told(each) for each in sums])
        return
    click.echo(f"Requests {dates.described(start, end, book.zone)}, {_said(scenario, prices)}")
    if not sums:
        click.echo("No records in this range.")
        return
    print_table(_COLUMNS, [_row(each) for each in sums], [_total(each) for each in totals(sums)])
    _print_unknown(sums)


def _print_unknown(sums: Iterable[WhatIfSum]) -> None:
    unknown = sum(each.would_be_unpriced for each in sums)
    before = sum(each.unpriced for each in sums)
    if unknown:
        click.echo(
            f"{unknown:,} requests would have no known cost ({before:,} have none as booked); the "
            "sums leave them out."
        )


def _said(scenario: Scenario, prices: Path | None) -> str:
    words = [] if prices is None else [f"by the prices of {prices}"]
    words += [f"{old} as {new}" for old, new in scenario.models]
    if scenario.tier is not None:
        words.append(f"in the tier {scenario.tier}" if scenario.tier else "in the usual tier")
    if scenario.discount is not None:
        words.append(f"with a discount of {scenario.discount}")
    return ", ".join(words) or "as they were booked"


def _row(each: WhatIfSum) -> tuple[str, ...]:
    return (
        formats.text(each.team),
        formats.text(each.model),
        formats.count(each.requests),
        _money(each.cost_nano),
        _money(each.would_cost_nano),
        _money(each.difference_nano),
        formats.text(each.currency),
        formats.count(each.would_be_unpriced) if each.would_be_unpriced else "",
    )


def _total(each: WhatIfSum) -> tuple[str, ...]:
    return ("total", "", *_row(each)[2:])


def _told(each: WhatIfSum) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(each)
    told["difference_nano"] = each.difference_nano
    for name in ("cost", "would_cost"):
        nano = told[f"{name}_nano"]
        told[name] = decimal(nano) if isinstance(nano, int) else None
    return told


def _money(nano: int | None) -> str:
    return formats.UNKNOWN if nano is None else formats.money(nano)


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old.strip() and sign and new.strip()):
        raise click.BadParameter(
            f"{text!r} is no pair: write 'gpt-4o=deepseek-v3.2'.", param_hint="--model"
        )
    return old.strip(), new.strip()


def _share(text: str) -> str:
    """A discount as the book writes it."""
    said = text.strip()
    if (percent := _PERCENT.fullmatch(said)) is not None:
        whole, _, decimals = percent[1].partition(".")
        digits = whole.rjust(3, "0")
        said = f"{digits[:-2]}.{digits[-2:]}{decimals}".lstrip("0")
        said = f"0{said}" if said.startswith(".") else said
    if _SHARE.fullmatch(said) is None and _SHARE.fullmatch(plain(said) if percent else "") is None:
        raise click.BadParameter(
            f"{text!r} is no share: write 10% or 0.1.", param_hint="--discount"
        )
    return plain(said)
