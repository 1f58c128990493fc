"""Why a bill and the ledger differ about one thing: the likely cause, from what both say.

A cause is named where a figure proves it (the amount is exactly what another price gives) or where
only one thing can explain it (an answer that was broken off, a count that is an estimate). Where
neither is so, it is not known, and the difference is the remainder.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.pricing.amounts import Counts
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.option import answered_status
from proxy.core.reconciling.sums import BilledSums, OwnSums
from proxy.core.usage import UsageRecord

# What the nano-units of one record or line may be off, since each is rounded by itself.
_ROUNDED_NANO: Final = 1
# Amounts with two decimals may be of cents; with fewer, the file leaves zeros away.
UNIT_NANO_MAX: Final = 10_000_000
_SMALL: Final = 100  # so many times as much is the amount of which a rounding is a part


class Cause(enum.StrEnum):
    """The likely cause of a difference."""

    CACHED_AS_INPUT = "cached_as_input"  # what was read from a cache is priced otherwise
    OTHER_TIER = "other_tier"  # billed in another service tier
    MODEL_ALIAS = "model_alias"  # billed under, and by the price of, another model's name
    ROUNDING = "rounding"  # the bill is rounded to the places that it shows
    DAY_BOUNDARY = "day_boundary"  # the vendor's day or month begins at another hour
    ESTIMATE = "estimate"  # the ledger estimated what the vendor had not stated
    RETRY = "retry"  # one request is billed twice, or a failed try of it is billed too
    REFUND = "refund"  # the vendor took an amount back
    FEE_APART = "fee_apart"  # searches are billed in lines of no model
    CANCELLED = "cancelled"  # the answer was broken off, and the vendor bills all of it
    PRICE = "price"  # the tokens agree, the price does not
    EXCHANGE_RATE = "exchange_rate"  # the ledger converts at another rate than the bill
    UNPRICED = "unpriced"  # the ledger has no price for it


Variant = tuple[Cause, str]  # a cause, and which of several other prices it means


class Slack(msgspec.Struct, frozen=True):
    """What amounts may differ by rounding: `exact_nano` by ours, `shown_nano` by the bill's too."""

    exact_nano: int
    shown_nano: int


def slack(own: OwnSums, billed: BilledSums, unit_nano: int) -> Slack:
    """Each record and each line is rounded once; a line to the file's smallest step."""
    exact = _ROUNDED_NANO * (own.requests + billed.lines)
    return Slack(exact, exact + billed.lines * min(unit_nano, UNIT_NANO_MAX) // 2)


def cause(
    own: OwnSums,
    billed: BilledSums,
    unit_nano: int,
    others: Mapping[Variant, int] | None = None,
) -> Cause | None:
    """The likely cause of the difference between two amounts; None: not known.

    `others`: what the same requests would cost under each cause (`under_other_terms`).
    """
    if billed.amount_nano is None:
        return _by_tokens(own, billed)
    difference = billed.amount_nano - own.cost_nano
    allowed = slack(own, billed, unit_nano)
    if billed.again and abs(difference - billed.again_nano) <= allowed.shown_nano:
        return Cause.RETRY
    if billed.back_nano and abs(difference - billed.back_nano) <= allowed.shown_nano:
        return Cause.REFUND
    if abs(difference) <= allowed.shown_nano and not own.unpriced:
        return Cause.ROUNDING
    at_rate_off = abs(billed.amount_nano - own.at_rate_nano)
    if own.at_rate_nano not in (0, own.cost_nano) and at_rate_off <= allowed.shown_nano:
        return Cause.EXCHANGE_RATE
    for (name, _), amount in (others or {}).items():
        if amount != own.cost_nano and abs(billed.amount_nano - amount) <= allowed.shown_nano:
            return name
    if own.unpriced:
        return Cause.UNPRICED
    # A single line that shows fewer places than the file does elsewhere.
    if 2 * abs(difference) <= billed.unit_nano and _SMALL * abs(difference) <= own.cost_nano:
        return Cause.ROUNDING
    return _by_evidence(own, billed, difference)


def _by_evidence(own: OwnSums, billed: BilledSums, difference: int) -> Cause | None:
    """What the counts of both sides, and how the requests ended, leave as the only reason."""
    if (
        difference > 0
        and own.failed
        and (own.failed == own.requests or _more_requests(own, billed, own.failed))
    ):
        return Cause.RETRY
    if difference > 0 and own.retried and _more_requests(own, billed, own.retried):
        return Cause.RETRY
    if own.cut and (difference > 0 or billed.cancelled):
        return Cause.CANCELLED
    if own.guessed:
        return Cause.ESTIMATE
    if _other_cache(own, billed):
        return Cause.CACHED_AS_INPUT
    if billed.tiers - own.tiers:
        return Cause.OTHER_TIER
    return Cause.PRICE if _same_tokens(own, billed) else None


def _by_tokens(own: OwnSums, billed: BilledSums) -> Cause | None:
    """For files that have tokens and no money."""
    if own.cut and (billed.output_tokens or 0) > own.output_tokens:
        return Cause.CANCELLED
    if own.guessed:
        return Cause.ESTIMATE
    return Cause.CACHED_AS_INPUT if _other_cache(own, billed) else None


def under_other_terms(
    record: UsageRecord, book: PriceBook, *, model: str | None = None, currency: str
) -> dict[Variant, int]:
    """What the record would cost in `currency` if the vendor took another price for it.

    `model`: the name that the bill has for it, if that is another one.
    """
    images = book.images_of(record) if book.counts_images(record.upstream) else None

    def cost(counts: Counts | UsageRecord, **other: str | None) -> int | None:
        names = {
            "model_requested": record.model_requested,
            "model_served": record.model_served,
            "service_tier": record.service_tier,
        } | other
        priced = book.price(
            counts,
            upstream=record.upstream,
            team=record.team,
            model_requested=names["model_requested"],
            model_served=names["model_served"],
            service_tier=names["service_tier"],
            started_at_ms=record.started_at_ms,
            status=answered_status(record),
            images=images,
        )
        return priced.cost_original_nano if priced.price_currency == currency else priced.cost_nano

    requested, served = record.model_requested or "", record.model_served
    tiers = {row.service_tier for row in book.rows_for(record.upstream, requested, served)}
    names = {record.model_requested, model} - {None, record.model_served}
    counts: list[tuple[Cause | None, str, Counts | UsageRecord]] = [(None, "", record)]
    if record.cached_tokens:
        counts.append((Cause.CACHED_AS_INPUT, "uncached", _without(record, cached=True)))
    if record.searches:
        counts.append((Cause.FEE_APART, "unsearched", _without(record, searches=True)))
    terms: list[tuple[Cause | None, str, dict[str, str | None]]] = [(None, "", {})]
    for tier in sorted((tiers | {None}) - {record.service_tier}, key=str):
        terms.append((Cause.OTHER_TIER, str(tier), {"service_tier": tier}))
    for name in sorted(names, key=str):
        both = {"model_requested": name, "model_served": name}
        terms.append((Cause.MODEL_ALIAS, str(name), both))
    found: dict[Variant, int | None] = {}
    # Two at once have the name of the terms; a single one is likelier, and comes first.
    for of_terms, term, other in terms:
        for of_counts, what, counted in counts:
            if (cause := of_terms or of_counts) is not None:
                found[cause, " ".join(filter(None, (term, what)))] = cost(counted, **other)
    return {variant: amount for variant, amount in found.items() if amount is not None}


def same_amount(own: OwnSums, billed: BilledSums) -> bool:
    """Whether amounts, and tokens where no amount is stated, say the same but for rounding."""
    if billed.amount_nano is None:
        return _same_tokens(own, billed)
    difference = abs(billed.amount_nano - own.cost_nano)
    return not own.unpriced and difference <= slack(own, billed, 0).exact_nano


def _without(record: UsageRecord, *, cached: bool = False, searches: bool = False) -> Counts:
    """The record's counts with nothing read from a cache, or no searches."""
    return Counts(
        input_tokens=record.input_tokens,
        cached_tokens=0 if cached else record.cached_tokens,
        cache_write_tokens=record.cache_write_tokens,
        audio_input_tokens=record.audio_input_tokens,
        output_tokens=record.output_tokens,
        reasoning_tokens=record.reasoning_tokens,
        audio_output_tokens=record.audio_output_tokens,
        cache_write_long_tokens=record.cache_write_long_tokens,
        searches=0 if searches else record.searches,
    )


def _more_requests(own: OwnSums, billed: BilledSums, most: int) -> bool:
    """Whether the bill has more requests with a use than the ledger, by at most so many."""
    if billed.requests is None:
        return False
    return 0 < billed.requests - (own.requests - own.failed) <= most


def _other_cache(own: OwnSums, billed: BilledSums) -> bool:
    return (
        billed.cached_tokens is not None
        and billed.cached_tokens != own.cached_tokens
        and billed.input_tokens == own.input_tokens
    )


def _same_tokens(own: OwnSums, billed: BilledSums) -> bool:
    """Whether every count that the bill states is the ledger's; False if it states none."""
    pairs = (
        (billed.input_tokens, own.input_tokens),
        (billed.output_tokens, own.output_tokens),
        (billed.cached_tokens, own.cached_tokens),
    )
    stated = [(theirs, ours) for theirs, ours in pairs if theirs is not None]
    return bool(stated) and all(theirs == ours for theirs, ours in stated)
