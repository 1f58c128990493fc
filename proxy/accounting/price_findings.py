"""What to look at of the prices: missing ones, sources that disagree, a table that is old.

`price check` and the page of prices both tell it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.config.price_tables import Table
from proxy.config.price_terms import price_book_of, row_of
from proxy.config.settings import Settings
from proxy.core.pricing import explanation
from proxy.core.pricing.amounts import PARTS
from proxy.core.pricing.pricelist import PriceList, is_literal
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.reading import BookReader, UsageRow

IN_USE_DAYS: Final = 30
OLD_DAYS: Final = 60
# Some tables leave out the prices of sound.
COMPARED: Final = tuple(name for name in PARTS if not name.startswith("audio"))


class PriceFinding(msgspec.Struct, frozen=True):
    """One thing to look at. `kind`: unpriced, disagree or old."""

    kind: str
    upstream: str
    model: str | None
    text: str


def in_use(reader: BookReader, from_ms: int, zone: ZoneInfo) -> list[tuple[str, str, int]]:
    """(upstream, model, how often its cost is not known) of the requests since then.

    There are none where there is no ledger yet.
    """
    try:
        return used_by(reader.usage(["upstream", "model"], from_ms, None, zone))
    except (LedgerError, LedgerUnavailable):
        return []


def used_by(rows: Iterable[UsageRow]) -> list[tuple[str, str, int]]:
    """The same of sums by upstream and model."""
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["upstream"] is not None and row["model"] is not None:
            key = str(row["upstream"]), str(row["model"])
            # null here is a sum over no record
            sums[key] = sums.get(key, 0) + int(row["unpriced_requests"] or 0)
    return [(upstream, model, missing) for (upstream, model), missing in sorted(sums.items())]


def unpriced(
    settings: Settings, table: Table | None, used: Sequence[tuple[str, str, int]], days: int
) -> Iterator[PriceFinding]:
    """Models of `in_use` with requests in so many days whose cost is not known."""
    book = price_book_of(settings, table)
    for upstream, model, missing in used:
        if missing and upstream in settings.upstreams and not book.has_row(upstream, model):
            yield PriceFinding(
                "unpriced",
                upstream,
                model,
                f"{model} at {upstream}: {missing} requests in {days} days, and no row gives it "
                "a price",
            )


def disagreeing(
    settings: Settings,
    table: Table | None,
    others: Sequence[Table],
    used: Sequence[tuple[str, str, int]],
    at_ms: int,
    everything: bool,
) -> Iterator[PriceFinding]:
    """Models with two prices by two sources, at the usual tier and with a short prompt."""
    own = PriceList(row_of(price, settings) for price in settings.prices)
    for upstream, asked in settings.upstreams.items():
        provider = asked.price_source
        if not provider or table is None:
            continue
        lists = {"config": own} | {
            each.source: PriceList(each.rows(provider, upstream)) for each in (table, *others)
        }
        models = {model for where, model, _ in used if where == upstream}
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
                yield PriceFinding("disagree", upstream, model, f"{model} at {upstream}: {prices}")


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


def old_table(settings: Settings, table: Table | None, now_ms: int) -> Iterator[PriceFinding]:
    """A bundled table that is older than OLD_DAYS, where an upstream is priced by it."""
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
            yield PriceFinding("old", asking[0], None, text)
