"""The price book: rows, rates of exchange, discounts and markups, compiled from their terms.

`terms` is everything that makes an amount beside a record's own numbers, as canonical JSON. The
ledger keeps it. `version` is the beginning of its SHA-256 and stands in each record that was priced
by it. So a record's amounts can be worked out again from the terms of its version, when the config
has long changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.model_names import sent_name
from proxy.core.pricing.amounts import (
    ONE,
    Factor,
    HasCounts,
    Priced,
    amounts,
    dearest,
    factor,
    parts,
    raised,
    rounded,
    value,
)
from proxy.core.pricing.fixed import FixedPrice
from proxy.core.pricing.option import (
    Option,
    PriceReach,
    Steps,
    always,
    answered_status,
    applying,
    compiled,
    of_batches,
    step_at,
)
from proxy.core.pricing.pricelist import PriceList, PriceRow
from proxy.core.pricing.terms import DatedRate, Terms, steps
from proxy.core.usage import FREE, LATER, PER_REQUEST, ChargeClass, UsageRecord

VERSION_DIGITS: Final = 16
# What a record's `reason` says of how its path is charged.
_CLASSES: Final[dict[str | None, ChargeClass]] = {
    FREE: ChargeClass.FREE,
    PER_REQUEST: ChargeClass.PER_REQUEST,
    LATER: ChargeClass.LATER,
}
# Combinations of names whose rows were looked up; all of them come from outside.
PLANS_MAX: Final = 4096
_ANSWERED: Final = range(200, 300)
_NO_SHARE: Final = DatedRate("0")
# Upstream, team, model asked for, model that answered, service tier.
_Names = tuple[str, str | None, str | None, str | None, str | None]


class Quote(msgspec.Struct, frozen=True):
    """What a record would be priced by.

    `fx_rate` is None where the row is in the book's currency, or where there is no rate yet
    (`fx_missing`).
    """

    row: PriceRow
    discount: str
    markup: str
    fx_rate: str | None
    fx_missing: bool


class PriceBook:
    """The prices of one config, for as long as that is in effect. Immutable but for its memory."""

    def __init__(self, terms: Terms) -> None:
        self._list = PriceList(terms.rows)
        ordered = msgspec.structs.replace(terms, rows=self._list.rows)
        self._terms = ordered
        self._encoded = msgspec.json.encode(ordered, order="sorted")
        self.version = hashlib.sha256(self._encoded).hexdigest()[:VERSION_DIGITS]
        self.currency = terms.currency
        self._unpriced = Priced(price_version=self.version)
        self._free = Priced(0, 0, self.currency, self.version)
        self._fx = {currency: compiled(rates, factor) for currency, rates in terms.fx.items()}
        self._markups = {
            team: compiled(steps(share), raised) for team, share in terms.markups.items()
        }
        self._plans: dict[tuple[str, str | None, str | None, str | None], tuple[Option, ...]] = {}
        self._counting_images = {
            row.upstream for row in self._list.rows if row.image not in (None, "0")
        }
        self._reaches: dict[tuple[str, str, str | None], PriceReach] = {}
        self._fixed: dict[_Names, FixedPrice] = {}
        self._as_requested = frozenset(terms.requested_prices)

    @classmethod
    def from_terms(cls, terms: bytes) -> PriceBook:
        """The book that had these terms.

        Raises msgspec.ValidationError or DecodeError for bytes that are no terms.
        """
        return cls(msgspec.json.decode(terms, type=Terms))

    def terms(self) -> bytes:
        return self._encoded

    @property
    def content(self) -> Terms:
        """What `terms` says, as values."""
        return self._terms

    @property
    def rows(self) -> tuple[PriceRow, ...]:
        """Every row, in the book's own order."""
        return self._list.rows

    def price(
        self,
        counts: HasCounts,
        *,
        upstream: str,
        team: str | None,
        model_requested: str | None,
        model_served: str | None,
        service_tier: str | None,
        started_at_ms: int,
        status: int | None,
        images: int | None = None,
        charge_class: ChargeClass | None = None,
    ) -> Priced:
        """The amounts of one record, by the row that applies (see `proxy.core.pricing.amounts`).

        Where none does, only the version is known.
        """
        fixed = self._fixed.get((upstream, team, model_requested, model_served, service_tier))
        if fixed is not None and charge_class is None:
            return fixed.price(counts, answered=status is not None and 200 <= status < 300)
        if charge_class is ChargeClass.FREE:
            return self._free
        plan = self._plans.get((upstream, model_requested, model_served, service_tier))
        if plan is None:
            plan = self.plan(upstream, model_requested, model_served, service_tier)
        if charge_class is ChargeClass.LATER:
            plan = of_batches(plan)
        option = applying(plan, counts.input_tokens, started_at_ms)
        if option is None or (
            charge_class is ChargeClass.PER_REQUEST and option.row.request is None
        ):
            return self._unpriced
        if option is plan[0] and not option.bounded and fixed is None:
            self._fix(option, (upstream, team, model_requested, model_served, service_tier))
        fx, fx_rate = option.exchange(started_at_ms)
        rates, markup = option.rates(started_at_ms)[0], self._markup(team, started_at_ms)[0]
        answered = status is not None and 200 <= status < 300
        original, cost, charge = amounts(
            rates, counts, fx, markup, images=images, answered=answered
        )
        currency = None if cost is None and charge is None else self.currency
        return Priced(
            cost,
            charge,
            currency,
            self.version,
            option.model,
            option.row.currency,
            original,
            fx_rate,
        )

    def price_record(self, record: UsageRecord, images: int | None = None) -> Priced:
        """What a record comes to by this book."""
        return self.price(
            record,
            upstream=record.upstream,
            team=record.team,
            model_requested=record.model_requested,
            model_served=record.model_served,
            service_tier=record.service_tier,
            started_at_ms=record.started_at_ms,
            status=answered_status(record),
            images=images,
            charge_class=_CLASSES.get(record.reason),
        )

    def images_of(self, record: UsageRecord) -> int | None:
        """How many images a record was priced with by this book; None where that is not clear.

        No column holds their number, but the amount tells it.
        """
        plan = self.plan(
            record.upstream, record.model_requested, record.model_served, record.service_tier
        )
        option = applying(plan, record.input_tokens, record.started_at_ms)
        if (
            option is None
            or answered_status(record) not in _ANSWERED
            or record.cost_original_nano is None
        ):
            return None
        rates, _ = option.rates(record.started_at_ms)
        if not rates.image:
            return None
        without = value(rates, parts(record), images=0, answered=True, searches=record.searches)
        if without is None:
            return None
        images = (2 * (record.cost_original_nano * rates.scale - without) + rates.image) // (
            2 * rates.image
        )
        told = (
            images >= 0
            and rounded(without + images * rates.image, rates.scale) == record.cost_original_nano
        )
        return images if told else None

    def applying(self, record: UsageRecord) -> list[PriceRow]:
        """The rows that could price the record, best first: the first one does."""
        plan = self.plan(
            record.upstream, record.model_requested, record.model_served, record.service_tier
        )
        tokens = 0 if record.input_tokens is None else record.input_tokens
        return [option.row for option in plan if option.row.applies(tokens, record.started_at_ms)]

    def quote(
        self,
        *,
        upstream: str,
        team: str | None,
        model_requested: str | None,
        model_served: str | None,
        service_tier: str | None,
        input_tokens: int | None,
        at_ms: int,
    ) -> Quote | None:
        """The row that applies and what is made of its rates, or None."""
        option = applying(
            self.plan(upstream, model_requested, model_served, service_tier), input_tokens, at_ms
        )
        if option is None:
            return None
        fx, fx_rate = option.exchange(at_ms)
        return Quote(
            option.row, option.rates(at_ms)[1], self._markup(team, at_ms)[1], fx_rate, fx is None
        )

    def is_priced(self, upstream: str, model: str, at_ms: int) -> bool:
        """Whether a request for this model, answered by it, would have a price.

        Some row applies, with rates, and its currency can be exchanged.
        """
        option = applying(self.plan(upstream, model, None, None), 0, at_ms)
        return option is not None and option.exchange(at_ms)[0] is not None

    def has_row(self, upstream: str, model: str) -> bool:
        """Whether some row with rates can apply to this model, at some time and for some tier."""
        for plan in self._reach(upstream, model).plans:
            for option in plan:
                if option.priced:
                    return True
                if not option.bounded:
                    break  # it hides the rest
        return False

    def has_fee(self, upstream: str, model: str) -> bool:
        """Whether some row with a fee per request can apply to this model, at some time."""
        return any(
            option.row.request is not None for option in self.plan(upstream, model, None, None)
        )

    def priced_models(self, upstream: str) -> list[str]:
        """The models that the operator's rows for this upstream write out."""
        return self._list.literals(upstream)

    def counts_images(self, upstream: str) -> bool:
        """Whether images must be counted: some row for this upstream has a rate for them."""
        return None in self._counting_images or upstream in self._counting_images

    def rows_for(self, upstream: str, requested: str, served: str | None) -> tuple[PriceRow, ...]:
        """The rows that can price such an answer in some tier, best first."""
        requested = sent_name(self._terms.aliases, upstream, requested)
        if upstream in self._as_requested:
            served = None
        return self._list.rows_for(upstream, requested, served)

    def charge_bound_nano(
        self,
        upstream: str,
        team: str | None,
        model: str,
        input_tokens: int,
        output_tokens: int,
        at_ms: int,
        images: int | None = None,
        served: Iterable[str] = (),
    ) -> int | None:
        """The most that a request for this model can be charged, up to so many tokens.

        It goes by the dearest rates that can apply if the model itself or one of `served` answers,
        whatever the tier and whichever parts the tokens are. None where that cannot be told. An
        answer from yet another model can cost more.
        """
        markup, _ = self._markup(team, at_ms)
        options: dict[int, Option] = {}
        for reach in (self._reach(upstream, model, name) for name in (None, *served)):
            for tokens in (
                input_tokens,
                *(above for above in reach.inputs if above < input_tokens),
            ):
                for plan in reach.plans:
                    option = applying(plan, tokens, at_ms)
                    if option is None:
                        return None
                    options[id(option.row)] = option
        most = 0
        for option in options.values():
            fx = option.exchange(at_ms)[0]
            rates, _ = option.rates(at_ms)
            exact = dearest(rates, input_tokens, output_tokens, images)
            bound = (
                None
                if fx is None or exact is None
                else rounded(
                    exact * fx.number * markup.number, rates.scale * fx.scale * markup.scale
                )
            )
            if bound is None:
                return None
            most = max(most, bound)
        return most

    def _fix(self, option: Option, names: _Names) -> None:
        """Remembers the price of these names, if nothing but the counts makes a difference."""
        team = names[1]
        markups = None if team is None else self._markups.get(team)
        if not option.undated or (markups is not None and not always(markups)):
            return
        fx, fx_rate = option.exchange(0)
        assert fx is not None, "it always holds"
        row = Priced(
            None, None, None, self.version, option.model, option.row.currency, None, fx_rate
        )
        markup = self._markup(team, 0)[0]
        fixed = FixedPrice.of(option.rates(0)[0], fx, markup, row, self.currency)
        if fixed is not None:
            if len(self._fixed) >= PLANS_MAX:
                self._fixed.clear()
            self._fixed[names] = fixed

    def plan(
        self, upstream: str, requested: str | None, served: str | None, tier: str | None
    ) -> tuple[Option, ...]:
        """The rows for these names, best first, compiled; remembered within a bound."""
        if requested is not None:
            requested = sent_name(self._terms.aliases, upstream, requested)
        if requested is not None and upstream in self._as_requested:
            served = None
        key = (upstream, requested, served, tier)
        plan = self._plans.get(key)
        if plan is None:
            discounts = (*steps(self._terms.discounts.get(upstream)), _NO_SHARE)
            plan = tuple(
                Option(row, discounts, self._rates_of(row.currency))
                for row in self._list.candidates(upstream, requested, served, tier)
            )
            if len(self._plans) >= PLANS_MAX:
                # Made-up names must not keep the others' from being remembered.
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _reach(self, upstream: str, model: str, served: str | None = None) -> PriceReach:
        """All that can price a request for this model, answered by `served` or by itself.

        It is remembered within the same bound.
        """
        reach = self._reaches.get((upstream, model, served))
        if reach is None:
            tiers = {row.service_tier for row in self.rows_for(upstream, model, served)} - {None}
            plans = tuple(self.plan(upstream, model, served, tier) for tier in (None, *tiers))
            above = {option.row.above_input_tokens for plan in plans for option in plan} - {None}
            if len(self._reaches) >= PLANS_MAX:
                self._reaches.clear()
            inputs = (0, *sorted(tokens + 1 for tokens in above if tokens is not None))
            reach = self._reaches[upstream, model, served] = PriceReach(plans, inputs)
        return reach

    def _rates_of(self, currency: str) -> Steps[Factor] | None:
        """None: it is the book's own currency."""
        return None if currency == self.currency else self._fx.get(currency, ())

    def markups(self, team: str | None) -> Steps[Factor]:
        """The steps of a team's markup; before the first one there is none."""
        return () if team is None else self._markups.get(team, ())

    def _markup(self, team: str | None, at_ms: int) -> tuple[Factor, str]:
        return step_at(self.markups(team), at_ms) or (ONE, "0")
