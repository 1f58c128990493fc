"""`tollkeeper price check`: missing prices, sources that disagree, a table that is old."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import common, time_range
from proxy.cli.price_import import FORMATS, read_table
from proxy.config.price_tables import Table
from proxy.config.price_terms import price_book_of, row_of
from proxy.config.prices import table_of
from proxy.config.settings import Settings
from proxy.core import dates
from proxy.core.pricing import explanation
from proxy.core.pricing.amounts import PARTS
from proxy.core.pricing.pricelist import PriceList, is_literal
from proxy.ledger import LedgerError, LedgerUnavailable, connect_reader

IN_USE_DAYS = 30
OLD_DAYS = 60
DIFFERENCES = 3  # the exit code
# Some tables leave out the prices of sound.
COMPARED = tuple(name for name in PARTS if not name.startswith("audio"))


class Finding(msgspec.Struct, frozen=True):
    """One thing to look at. `kind`: unpriced, disagree or old."""

    kind: str
    upstream: str
    model: str | None
    text: str


@click.command()
@common.config_option
@common.json_option
@click.option(
    "--days",
    type=click.IntRange(1),
    default=IN_USE_DAYS,
    show_default=True,
    help="Models count as in use that were asked for in so many days.",
)
@click.option("--at", metavar="TIME", help="Compare prices as of this time. Default: now.")
@click.option(
    "--against",
    nargs=2,
    metavar="FORMAT FILE",
    multiple=True,
    help=f"Compare with this table too: {' or '.join(FORMATS)}, and its file. May be given again.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Compare all models of the price sources in use, not only those in use.",
)
def check(
    config_path: Path | None,
    as_json: bool,
    days: int,
    at: str | None,
    against: tuple[tuple[str, Path], ...],
    everything: bool,
) -> None:
    """Find missing prices, sources that disagree, and a bundled table older than 60 days.

    Exit code 3 if there is anything to look at.

    Prices are compared for upstreams that say whose prices they bill (`price_source`): the config's
    row, the bundled table's, and those of each --against.

    \b
    Examples:
      tollkeeper price check
      tollkeeper price check --against litellm model_prices_and_context_window.json --all
    """
    settings = common.load_local(config_path).settings
    zone = ZoneInfo(settings.timezone)
    now_ms = time.time_ns() // 1_000_000
    at_ms = now_ms if at is None else dates.unix_ms(time_range.moment(at, "--at", zone))
    assert at_ms is not None, "a moment was given"
    others = []
    for source, file in against:
        if source not in FORMATS:
            raise click.UsageError(f"--against {source}: the formats are {' and '.join(FORMATS)}.")
        others.append(read_table(source, Path(file)))
    table = table_of(settings)
    in_use = _in_use(settings, now_ms - days * 86_400_000, zone)
    found = [
        *_unpriced(settings, table, in_use, days),
        *_disagreeing(settings, table, others, in_use, at_ms, everything),
        *_old(settings, table, now_ms),
    ]
    if as_json:
        common.print_json(found)
    else:
        for finding in found:
            click.echo(f"{finding.kind}: {finding.text}")
        counts = {
            kind: sum(finding.kind == kind for finding in found)
            for kind in ("unpriced", "disagree", "old")
        }
        click.echo(
            f"{counts['unpriced']} models in use without a price, {counts['disagree']} rows on "
            f"which sources disagree, {counts['old']} old tables"
        )
    if found:
        raise click.exceptions.Exit(DIFFERENCES)


def _in_use(settings: Settings, from_ms: int, zone: ZoneInfo) -> list[tuple[str, str, int]]:
    """(upstream, model, how often its cost is not known) of the requests since then.

    There are none where there is no ledger yet.
    """
    try:
        rows = connect_reader(settings.ledger.url, settings.data_dir).usage(
            ["upstream", "model"], from_ms, None, zone
        )
    except (LedgerError, LedgerUnavailable):
        return []
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["upstream"] is not None and row["model"] is not None:
            key = str(row["upstream"]), str(row["model"])
            # null here is a sum over no record
            sums[key] = sums.get(key, 0) + int(row["unpriced_requests"] or 0)
    return [(upstream, model, unpriced) for (upstream, model), unpriced in sorted(sums.items())]


def _unpriced(
    settings: Settings, table: Table | None, in_use: Sequence[tuple[str, str, int]], days: int
) -> Iterator[Finding]:
    book = price_book_of(settings, table)
    for upstream, model, unpriced in in_use:
        if unpriced and upstream in settings.upstreams and not book.has_row(upstream, model):
            yield Finding(
                "unpriced",
                upstream,
                model,
                f"{model} at {upstream}: {unpriced} requests in {days} days, and no row gives it "
                "a price",
            )


def _disagreeing(
    settings: Settings,
    table: Table | None,
    others: Sequence[Table],
    in_use: Sequence[tuple[str, str, int]],
    at_ms: int,
    everything: bool,
) -> Iterator[Finding]:
    """Models with two prices by two sources, at the usual tier and with a short prompt."""
    own = PriceList(row_of(price, settings) for price in settings.prices)
    for upstream, asked in settings.upstreams.items():
        provider = asked.price_source
        if not provider or table is None:
            continue
        lists = {"config": own} | {
            each.source: PriceList(each.rows(provider, upstream)) for each in (table, *others)
        }
        models = {model for where, model, _ in in_use if where == upstream}
        models |= {
            row.model
            for row in own.rows
            if is_literal(row.model) and row.upstream in (None, upstream)
        }
        if everything:
            models |= {row.model for row in table.providers[provider] if is_literal(row.model)}
        for model in sorted(models):
            said = {
                source: rates
                for source, rows in lists.items()
                if (rates := _rates(rows, upstream, model, at_ms)) is not None
            }
            if len(set(said.values())) > 1:
                prices = "; ".join(
                    f"{source} {_shown(currency, rates)}"
                    for source, (currency, rates) in said.items()
                )
                yield Finding("disagree", upstream, model, f"{model} at {upstream}: {prices}")


_Rates = tuple[tuple[str, str | None], ...]


def _rates(rows: PriceList, upstream: str, model: str, at_ms: int) -> tuple[str, _Rates] | None:
    """The currency and the price of each kind of token by these rows; None if they give none."""
    row = next(
        (row for row in rows.candidates(upstream, model, None, None) if row.applies(0, at_ms)), None
    )
    if row is None or not row.rates():
        return None
    return row.currency, tuple((name, explanation.rate_of(row, name)) for name in COMPARED)


def _shown(currency: str, rates: _Rates) -> str:
    given = dict(rates)
    hidden = {
        "cached": "input",
        "cache_write": "input",
        "cache_write_long": "cache_write",
        "reasoning": "output",
    }
    told = [
        f"{name} {rate}"
        for name, rate in rates
        if rate is not None and (name not in hidden or rate != given[hidden[name]])
    ]
    return f"{currency} {', '.join(told)}"


def _old(settings: Settings, table: Table | None, now_ms: int) -> Iterator[Finding]:
    asking = [name for name, upstream in settings.upstreams.items() if upstream.price_source]
    if table is not None:
        age = datetime.fromtimestamp(now_ms // 1000, UTC) - datetime.fromisoformat(
            table.date
        ).replace(tzinfo=UTC)
        if age > timedelta(days=OLD_DAYS):
            text = (
                f"the bundled table is of {table.date}, {age.days} days ago, and prices "
                f"{', '.join(asking)}; update this program, or import newer prices"
            )
            yield Finding("old", asking[0], None, text)
