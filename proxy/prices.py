"""The price book: a config's rows, rates of exchange, discounts and markups, compiled; and the same again from the terms that the ledger keeps.

`terms` is everything that makes an amount beside a record's own numbers, as canonical JSON; `version` is the beginning of its SHA-256 and stands in each record
that was priced by it. Whoever has a record and the terms of its version can work out its amounts again, whatever the config says today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.config_values import instant_ms
from proxy.core.pricelist import DAY_MINUTES, RATES, PriceList, PriceRow
from proxy.core.pricing import (
    ONE,
    UNPRICED,
    Counted,
    Factor,
    Priced,
    Rates,
    amounts,
    compile_rates,
    dearest,
    factor,
    parts,
    plain,
    raised,
    rounded,
    scaled,
    value,
)
from proxy.core.usage import UsageRecord
from proxy.pricetables import Table
from proxy.settings import Price, Settings

VERSION_DIGITS: Final = 16
PLANS_MAX: Final = 4096     # combinations of names whose rows were looked up; all of them come from outside
MODEL_CHARS_MAX: Final = 256    # of a glob in a record, whose size is bounded
_ANSWERED: Final = range(200, 300)


class ExchangeRate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one unit of a foreign currency is worth, from a moment on (None: always)."""

    rate: str
    from_ms: int | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """All that makes an amount. `timezone` is what dates in the config were read in; the rows hold moments. Shares of 0 are left out."""

    currency: str
    timezone: str
    rows: tuple[PriceRow, ...]
    fx: dict[str, tuple[ExchangeRate, ...]]
    discounts: dict[str, str]
    markups: dict[str, str]


class Quote(msgspec.Struct, frozen=True):
    """What a record would be priced by. `fx_rate` is None where the row is in the book's currency, or where there is no rate yet (`fx_missing`)."""

    row: PriceRow
    discount: str
    markup: str
    fx_rate: str | None
    fx_missing: bool


class PriceBook:
    """Immutable but for its memo. One lives as long as the config that it is of."""

    def __init__(self, terms: Terms) -> None:
        self._list = PriceList(terms.rows)
        ordered = msgspec.structs.replace(terms, rows=self._list.rows)
        self._terms = ordered
        self._encoded = msgspec.json.encode(ordered, order="sorted")
        self.version = hashlib.sha256(self._encoded).hexdigest()[:VERSION_DIGITS]
        self.currency = terms.currency
        self._fx = {currency: tuple((rate.from_ms, factor(rate.rate), rate.rate) for rate in _latest_first(rates)) for currency, rates in terms.fx.items()}
        self._markups = {team: raised(share) for team, share in terms.markups.items()}
        self._plans: dict[tuple[str, str | None, str | None, str | None], tuple[_Option, ...]] = {}
        self._counting_images = {row.upstream for row in self._list.rows if row.image not in (None, "0")}
        self._reaches: dict[tuple[str, str], _Reach] = {}

    @classmethod
    def of(cls, settings: Settings, table: Table | None = None) -> PriceBook:
        """A config's. `table` is for upstreams with a `price_source`."""
        return cls(terms_of(settings, table))

    @classmethod
    def from_terms(cls, terms: bytes) -> PriceBook:
        """The book that had these terms. Raises msgspec.ValidationError or DecodeError for what is none."""
        return cls(msgspec.json.decode(terms, type=Terms))

    def terms(self) -> bytes:
        return self._encoded

    @property
    def rows(self) -> tuple[PriceRow, ...]:
        """Every row, in the book's own order."""
        return self._list.rows

    def price(
        self, counts: Counted, *, upstream: str, team: str | None, model_requested: str | None, model_served: str | None, service_tier: str | None,
        started_at_ms: int, status: int | None, images: int | None = None,
    ) -> Priced:  # fmt: skip
        """The amounts of one record (`proxy.core.pricing` says how), by the row that applies; `UNPRICED` where none does."""
        plan = self._plans.get((upstream, model_requested, model_served, service_tier))
        if plan is None:
            plan = self._plan(upstream, model_requested, model_served, service_tier)
        option = _applying(plan, counts.input_tokens, started_at_ms)
        if option is None:
            return UNPRICED
        fx, fx_rate = option.exchange(started_at_ms)
        answered = status is not None and 200 <= status < 300
        original, cost, charge = amounts(option.rates, counts, fx, self._markups.get(team, ONE) if team is not None else ONE, images=images, answered=answered)
        currency = None if cost is None and charge is None else self.currency
        return Priced(cost, charge, currency, self.version, option.model, option.row.currency, original, fx_rate)

    def price_record(self, record: UsageRecord, images: int | None = None) -> Priced:
        """What a record comes to by this book."""
        return self.price(
            record, upstream=record.upstream, team=record.team, model_requested=record.model_requested, model_served=record.model_served,
            service_tier=record.service_tier, started_at_ms=record.started_at_ms, status=record.status, images=images,
        )  # fmt: skip

    def images_of(self, record: UsageRecord) -> int | None:
        """How many images a record was priced with by this book: no column holds their number, but the amount does. None where it does not tell."""
        plan = self._plan(record.upstream, record.model_requested, record.model_served, record.service_tier)
        option = _applying(plan, record.input_tokens, record.started_at_ms)
        if option is None or not option.rates.image or record.status not in _ANSWERED or record.cost_original_nano is None:
            return None
        rates = option.rates
        without = value(rates, parts(record), images=0, answered=True)
        if without is None:
            return None
        images = (2 * (record.cost_original_nano * rates.scale - without) + rates.image) // (2 * rates.image)
        told = images >= 0 and rounded(without + images * rates.image, rates.scale) == record.cost_original_nano
        return images if told else None

    def quote(
        self, *, upstream: str, team: str | None, model_requested: str | None, model_served: str | None, service_tier: str | None,
        input_tokens: int | None, at_ms: int,
    ) -> Quote | None:  # fmt: skip
        """The row that applies and what is made of its rates, or None."""
        option = _applying(self._plan(upstream, model_requested, model_served, service_tier), input_tokens, at_ms)
        if option is None:
            return None
        fx, fx_rate = option.exchange(at_ms)
        markup = self._terms.markups.get(team, "0") if team is not None else "0"
        return Quote(option.row, self._terms.discounts.get(upstream, "0"), markup, fx_rate, fx is None)

    def is_priced(self, upstream: str, model: str, at_ms: int) -> bool:
        """Whether a request for this model, answered by it, would have a price: some row applies, with rates, and its currency can be exchanged."""
        option = _applying(self._plan(upstream, model, None, None), 0, at_ms)
        return option is not None and option.exchange(at_ms)[0] is not None

    def has_row(self, upstream: str, model: str) -> bool:
        """Whether some row with rates can apply to this model, at some time and for some tier."""
        for plan in self._reach(upstream, model).plans:
            for option in plan:
                if option.priced:
                    return True
                if not option.bounded:
                    break   # it hides the rest
        return False

    def priced_models(self, upstream: str) -> list[str]:
        """The models that the operator's rows for this upstream write out."""
        return self._list.literals(upstream)

    def counts_images(self, upstream: str) -> bool:
        """Whether some row for this upstream has a rate for images, so that they must be counted."""
        return None in self._counting_images or upstream in self._counting_images

    def charge_bound_nano(self, upstream: str, team: str | None, model: str, input_tokens: int, output_tokens: int, at_ms: int, images: int | None = None) -> int | None:
        """The most that a request for this model can be charged, up to so many tokens: by the dearest rates that can apply to it, whichever tier it is answered
        in and whichever parts the tokens are. None where that cannot be told. An answer from another model than was asked for can cost more."""
        reach = self._reach(upstream, model)
        markup = self._markups.get(team, ONE) if team is not None else ONE
        options: dict[int, _Option] = {}
        for tokens in (input_tokens, *(above for above in reach.inputs if above < input_tokens)):
            for plan in reach.plans:
                option = _applying(plan, tokens, at_ms)
                if option is None:
                    return None
                options[id(option.row)] = option
        most = 0
        for option in options.values():
            fx = option.exchange(at_ms)[0]
            exact = dearest(option.rates, input_tokens, output_tokens, images)
            bound = None if fx is None or exact is None else rounded(exact * fx.number * markup.number, option.rates.scale * fx.scale * markup.scale)
            if bound is None:
                return None
            most = max(most, bound)
        return most

    def _plan(self, upstream: str, requested: str | None, served: str | None, tier: str | None) -> tuple[_Option, ...]:
        """The rows for these names, best first, compiled; remembered within a bound."""
        key = (upstream, requested, served, tier)
        plan = self._plans.get(key)
        if plan is None:
            discount = self._terms.discounts.get(upstream, "0")
            plan = tuple(_Option(row, discount, self._rates_of(row.currency)) for row in self._list.candidates(upstream, requested, served, tier))
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()     # whoever makes up names must not keep the others' from being remembered
            self._plans[key] = plan
        return plan

    def _reach(self, upstream: str, model: str) -> _Reach:
        """What can price a request for this model, whatever its answer says; remembered within the same bound."""
        reach = self._reaches.get((upstream, model))
        if reach is None:
            plans = tuple(self._plan(upstream, model, None, tier) for tier in (None, *sorted(self._list.tiers(upstream, model))))
            above = {option.row.above_input_tokens for plan in plans for option in plan} - {None}
            if len(self._reaches) >= PLANS_MAX:
                self._reaches.clear()
            reach = self._reaches[upstream, model] = _Reach(plans, (0, *sorted(tokens + 1 for tokens in above if tokens is not None)))
        return reach

    def _rates_of(self, currency: str) -> tuple[tuple[int | None, Factor, str | None], ...]:
        return ((None, ONE, None),) if currency == self.currency else self._fx.get(currency, ())


class _Reach(msgspec.Struct, frozen=True):
    """The plans of each tier, and the least numbers of input tokens at which another row may apply."""

    plans: tuple[tuple[_Option, ...], ...]
    inputs: tuple[int, ...]


class _Option:
    """A row, ready to price with. A row without any rate says that the price cannot be told: `priced` is False."""

    __slots__ = ("_exchange", "bounded", "model", "priced", "rates", "row")

    def __init__(self, row: PriceRow, discount: str, exchange: tuple[tuple[int | None, Factor, str | None], ...]) -> None:
        self.row = row
        self.model = row.model[:MODEL_CHARS_MAX]
        self.bounded = row.above_input_tokens is not None or row.from_ms is not None or row.hours_utc is not None
        decimals = row.rates()
        self.priced = bool(decimals)
        self.rates: Rates = compile_rates(decimals, discount)
        self._exchange = exchange

    def exchange(self, at_ms: int) -> tuple[Factor | None, str | None]:
        """The rate of exchange at that time and how it was written; (None, None) before the first one."""
        for from_ms, rate, text in self._exchange:
            if from_ms is None or from_ms <= at_ms:
                return rate, text
        return None, None


def _applying(plan: tuple[_Option, ...], input_tokens: int | None, at_ms: int) -> _Option | None:
    for option in plan:
        if not option.bounded or option.row.applies(0 if input_tokens is None else input_tokens, at_ms):
            return option if option.priced else None
    return None


def terms_of(settings: Settings, table: Table | None = None) -> Terms:
    """What a config and the bundled table say, without what makes no amount."""
    rows = [row_of(price, settings) for price in settings.prices]
    for name, upstream in settings.upstreams.items():
        if upstream.price_source and table is not None:
            rows += table.rows(upstream.price_source, name)
    return Terms(
        currency=settings.currency,
        timezone=settings.timezone,
        rows=tuple(rows),
        fx={currency: tuple(_latest_first([ExchangeRate(plain(rate.rate), _moment(rate.from_, settings)) for rate in rates])) for currency, rates in settings.fx.items()},
        discounts={name: plain(upstream.discount) for name, upstream in settings.upstreams.items() if scaled(upstream.discount)[0]},
        markups={name: plain(team.markup) for name, team in settings.teams.items() if scaled(team.markup)[0]},
    )


def row_of(price: Price, settings: Settings) -> PriceRow:
    """A row of the config as the book has it."""
    row = PriceRow(
        model=price.model,
        upstream=price.upstream,
        currency=settings.currency if price.currency is None else price.currency,
        service_tier=price.service_tier,
        above_input_tokens=price.above_input_tokens,
        hours_utc=None if price.hours_utc is None else minutes_of(price.hours_utc),
        from_ms=_moment(price.from_, settings),
    )
    return msgspec.structs.replace(row, **{name: plain(rate) for name in RATES if (rate := getattr(price, name)) is not None})


def minutes_of(hours: str) -> tuple[int, int]:
    """(990, 30) of "16:30-00:30": minutes of the day, midnight as an end being 0."""
    start, end = (60 * int(time[:2]) + int(time[3:]) for time in hours.split("-"))
    return start, end % DAY_MINUTES


def _moment(day: str | None, settings: Settings) -> int | None:
    return None if day is None else instant_ms(day, settings.timezone)


def _latest_first(rates: Iterable[ExchangeRate]) -> list[ExchangeRate]:
    return sorted(rates, key=lambda rate: (rate.from_ms is None, 0 if rate.from_ms is None else -rate.from_ms))
