"""Finds mistakes about prices that only the whole config shows.

Rows that contradict each other, currencies without a rate of exchange, models without a price.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from proxy.config.price_tables import CURRENCY, Table, TableError, bundled
from proxy.config.price_terms import minutes_of, price_book_of, row_of
from proxy.config.settings import Settings
from proxy.core.model_names import caseless
from proxy.core.pricing.amounts import scaled
from proxy.core.pricing.pricelist import RATES, PriceRow, clash, is_literal
from proxy.core.spelling import nearest

Problem = Callable[[str, str], None]


def check(
    settings: Settings,
    where: Mapping[str, str],
    problem: Problem,
    load: Callable[[], Table] = bundled.load,
) -> None:
    """Contradictions among prices, rates of exchange and price sources.

    A key with a place in `where` is written in the config, even if it could not be read.
    """
    _fx(settings, problem)
    _shares(settings, problem)
    rows = [
        row_of(price, settings)
        for price in settings.prices
        if price.hours_utc is None or len(set(minutes_of(price.hours_utc))) == 2
    ]
    for index, price in enumerate(settings.prices):
        path = f"prices[{index}]"
        if price.hours_utc is not None and len(set(minutes_of(price.hours_utc))) == 1:
            problem(
                f"{path}.hours_utc",
                "begins and ends at the same minute; leave it out for the whole day",
            )
        given = [
            name for name in RATES if getattr(price, name) is not None or f"{path}.{name}" in where
        ]
        if not given:
            problem(
                path, 'gives no price; add input: "0.28" and output: "0.42", per million tokens'
            )
        elif not {"input", "output"} & set(given):
            problem(
                path,
                f"gives {given[0]} and nothing for plain tokens, whose amounts would be unknown; if"
                ' they cost nothing, write input: "0" and output: "0"',
            )
        if (
            price.currency is not None
            and price.currency != settings.currency
            and not settings.fx.get(price.currency)
        ):
            problem(f"{path}.currency", _no_rate(price.currency, settings))
    if len(rows) == len(settings.prices):
        for first, second in _clashes(rows):
            reason = (
                f"is for the same requests ({settings.prices[second].model}), and nothing says"
                " which price applies"
            )
            problem(
                f"prices[{second}]",
                f"prices[{first}] {reason}; give the newer one a later `from`, make one more"
                " specific, or remove one",
            )
    _sources(settings, problem, load)


def warnings(settings: Settings) -> Iterator[str]:
    """Tells of models that a route writes out and no price names.

    Only where the config has prices at all or demands them.
    """
    deny = settings.unpriced == "deny"
    if not (
        deny
        or settings.prices
        or any(upstream.price_source for upstream in settings.upstreams.values())
    ):
        return
    book = price_book_of(settings, table_of(settings))
    for name in settings.upstreams:
        if (
            deny
            and not any(row.upstream in (None, name) for row in book.rows)
            and any(route.upstream == name for route in settings.routes)
        ):
            yield (
                f"unpriced: deny, and there is no price for anything at upstreams.{name}: every"
                " request to it answers 403 model_not_priced"
            )
    for index, route in enumerate(settings.routes):
        if is_literal(route.model) and not book.has_row(route.upstream, route.model):
            so = "so it answers 403 model_not_priced" if deny else "so what it costs stays unknown"
            yield (
                f"routes[{index}] ({route.model}) has no price at upstreams.{route.upstream}, {so}"
            )


def table_of(settings: Settings, load: Callable[[], Table] = bundled.load) -> Table | None:
    """The bundled table, if some upstream asks for it. Raises TableError."""
    return (
        load() if any(upstream.price_source for upstream in settings.upstreams.values()) else None
    )


def _fx(settings: Settings, problem: Problem) -> None:
    for currency, rates in settings.fx.items():
        path = f"fx.{currency}"
        if currency == settings.currency:
            problem(
                path,
                "is the ledger's own currency (`currency`), of which no rate is needed; remove it",
            )
        for index, rate in enumerate(rates):
            if rate.rate and not scaled(rate.rate)[0]:
                problem(
                    f"{path}[{index}].rate",
                    f"is 0, by which everything in {currency} would be free; write what 1"
                    f" {currency} is worth in {settings.currency}",
                )
        _dates(path, [rate.from_ for rate in rates], problem)


def _shares(settings: Settings, problem: Problem) -> None:
    named = [
        (f"upstreams.{name}.discount", upstream.discount)
        for name, upstream in settings.upstreams.items()
    ]
    named += [(f"teams.{name}.markup", team.markup) for name, team in settings.teams.items()]
    for path, said in named:
        rates = (
            [(path, said)]
            if isinstance(said, str)
            else [(f"{path}[{index}].rate", row.rate) for index, row in enumerate(said)]
        )
        for place, rate in rates:
            if path.endswith("discount") and Decimal(rate or "0") > 1:
                problem(place, 'is a share; write 5 % as "0.05"')
        if not isinstance(said, str):
            _dates(path, [row.from_ for row in said], problem)


def _dates(path: str, dates: Sequence[str | None], problem: Problem) -> None:
    """Each date once: of two values from the same day on, nothing says which holds."""
    first_at: dict[str | None, int] = {}
    for index, day in enumerate(dates):
        if day in first_at:
            since = "from the beginning" if day is None else f"from {day} on"
            problem(
                f"{path}[{index}]",
                f"{path}[{first_at[day]}] is also valid {since}; keep one of them, or date the"
                " newer one with `from`",
            )
        first_at.setdefault(day, index)


def _clashes(rows: Sequence[PriceRow]) -> Iterator[tuple[int, int]]:
    """Pairs of rows that nothing tells apart, by number.

    Only rows for the same names are compared: there may be thousands of rows.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, row in enumerate(rows):
        tier = None if row.service_tier is None else caseless(row.service_tier)
        alike.setdefault(
            (row.model, row.upstream, tier, row.above_input_tokens, row.from_ms), []
        ).append(index)
    for indices in alike.values():
        for first, second in itertools.combinations(indices, 2):
            if clash(rows[first], rows[second]):
                yield first, second


def _sources(settings: Settings, problem: Problem, load: Callable[[], Table]) -> None:
    asking = {
        name: upstream.price_source
        for name, upstream in settings.upstreams.items()
        if upstream.price_source
    }
    try:
        table = table_of(settings, load)
    except TableError as error:
        problem(f"upstreams.{next(iter(asking))}.price_source", str(error))
        return
    for name, provider in asking.items():
        path = f"upstreams.{name}.price_source"
        if table is not None and provider not in table.providers:
            problem(
                path,
                "the bundled price table knows no such provider; the nearest known one is"
                f" {nearest(provider, table.providers)} (known:"
                f" {', '.join(sorted(table.providers))})",
            )
        elif settings.currency != CURRENCY and not settings.fx.get(CURRENCY):
            problem(path, _no_rate(CURRENCY, settings))


def _no_rate(currency: str, settings: Settings) -> str:
    return (
        f"is {currency}, and the ledger is kept in {settings.currency}; say what 1 {currency} is"
        f' worth: fx: {{{currency}: [{{rate: "0.14", from: 2026-01-01}}]}}'
    )
