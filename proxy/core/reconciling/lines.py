"""What one line of a vendor's file says, whatever the vendor."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import msgspec

from proxy.core.reconciling.figures import converted
from proxy.core.reconciling.moments import Width
from proxy.core.usage import Outcome, Source, UsageRecord

ALL: Final = ""  # the item of a line that is not divided into items
INPUT: Final = "input"  # input tokens that were neither read from a cache nor written to one
CACHED: Final = "cached"
CACHE_WRITE: Final = "cache_write"
CACHE_WRITE_LONG: Final = "cache_write_long"
OUTPUT: Final = "output"
SEARCH: Final = "search"
# Parts of what a model's tokens cost. Any other item is named as the vendor names it.
TOKEN_ITEMS: Final = (INPUT, CACHED, CACHE_WRITE, CACHE_WRITE_LONG, OUTPUT)


_CUT: Final = (Outcome.CLIENT_CLOSED, Outcome.CUT, Outcome.INTERRUPTED)
_GUESSED: Final = (Source.ESTIMATED, Source.COUNTED)


class Level(enum.StrEnum):
    """What is held against what, the finest first."""

    REQUEST = "request"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class VendorLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a bill, or of a vendor's log. None: the line does not say.

    `amount_nano` is in nano-units of `currency`, and `unit_nano` the step in which it is written.
    `input_tokens` hold those read from and written to a cache. `asks`: it stands for requests, and
    not for a credit, a tax or another product. `number` is the line's place in the file. `end_ms`:
    where a line that covers more than a day is stated to end.
    """

    number: int
    at_ms: int
    width: Width
    id: str | None = None
    model: str | None = None
    item: str = ALL
    amount_nano: int | None = None
    unit_nano: int = 0
    currency: str | None = None
    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    tier: str | None = None
    cancelled: bool = False
    asks: bool = True
    end_ms: int | None = None


class OwnLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the ledger says of one request, with all corrections of it.

    `cost_nano` is in nano-units of the bill's currency, None where it is not known. `cut`: the
    answer was broken off. `guessed`: the vendor stated no use. `failed`: it used nothing.
    `at_rate_nano`: the cost by a rate that is stated for the bill, if it has one.
    """

    record: str
    id: str | None
    at_ms: int
    model: str | None
    cost_nano: int | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    tier: str | None
    cut: bool
    guessed: bool
    failed: bool
    retried: bool
    at_rate_nano: int | None = None


def own_line(
    record: UsageRecord, currency: str, rates: Mapping[str, Fraction] | None = None
) -> OwnLine:
    """A record as it stands, as the vendor should bill it in `currency`.

    `rates`: those stated for the bill, of other currencies.
    """
    cost = (
        record.cost_original_nano
        if record.price_currency == currency and record.cost_original_nano is not None
        else record.cost_nano
        if record.currency == currency
        else None
    )
    cut = record.outcome in _CUT or record.source is Source.PARTIAL
    tier = None if record.service_tier is None else record.service_tier.casefold()
    return OwnLine(
        record.id,
        record.upstream_request_id,
        record.started_at_ms,
        record.model_served or record.model_requested,
        cost,
        record.input_tokens or 0,
        record.cached_tokens or 0,
        record.output_tokens or 0,
        None if tier in ("default", "standard", "auto") else tier,
        cut,
        record.source in _GUESSED and not cut,
        not record.input_tokens and not record.output_tokens and not cost,
        record.client_retry_count > 0,
        _at_rate(record, rates) if rates else None,
    )


def _at_rate(record: UsageRecord, rates: Mapping[str, Fraction]) -> int | None:
    rate = rates.get(record.price_currency or "")
    if rate is None or record.cost_original_nano is None:
        return None
    return converted(record.cost_original_nano, rate)
